"""A compute instance that nobody uses stops by itself, in real time; one whose kernel is busy does not."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.instances import Cell, jupyter_python

from ultramarine.controllers.instances import LOOK_EACH
from ultramarine.sdk.connection import of_home

from .installation import SIZES, Installation, installed, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
DESK = {"cpus": 0.5, "memory_gib": 1.0}
IDLE_S, BUSY_S = 60, 75
BODY = {"name": "mine", "type": "computeinstance", "size": "desk", "idle_time_before_shutdown_minutes": 1}
CODE = f"import time; time.sleep({BUSY_S}); print(6 * 7)"


@pytest.fixture
def it(cache: Path) -> Iterator[Installation]:
    with installed(cache, ULTRAMARINE_SIZES=json.dumps({**SIZES, "desk": DESK})) as made:
        made.up()
        yield made


def test_it_stays_for_a_cell_that_runs_longer_and_stops_a_minute_after_it(it: Installation, cache: Path) -> None:
    computes = it.workspace.computes
    computes.create_or_update(BODY)
    computes.wait_up("mine")
    url = f"http://127.0.0.1:{it.port + 2}/instances/default/mine"
    cell = Cell(jupyter_python(cache), url, of_home(it.home).token, code=CODE)
    ended_at = cell.at()  # a cell that takes longer than the instance may be idle
    assert computes.get("mine")["state"] == "Running"
    until(lambda: computes.get("mine")["state"] == "Stopped", "it stops by itself", seconds=3 * IDLE_S)
    assert time.time() - ended_at >= IDLE_S - LOOK_EACH.total_seconds(), "not before it was idle for so long"
    assert "Idle since" in computes.get("mine")["instance"]["reason"]
