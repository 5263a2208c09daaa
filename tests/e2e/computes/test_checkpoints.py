"""A job that is stopped or loses its node goes on from its checkpoint."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.installation import Installation, end, until

from .conftest import Install

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def it(install: Install) -> Iterator[Installation]:
    with install(ULTRAMARINE_CHECKPOINT_EVERY_S="0.5") as made:
        made.up()
        made.cluster(nodes=1)
        yield made


def begin(it: Installation, name: str, steps: int, **fields: object) -> None:
    it.submit(name, f"python checkpointing.py {steps} 0.05", code="job", **fields)


def steps(it: Installation, name: str, attempt: int) -> list[int]:
    return [int(line) for line in it.log(name, attempt).split()]


def kept(it: Installation, name: str) -> int:
    """The step of the newest checkpoint that can be downloaded; 0 when there is none."""
    if it.job(name)["checkpoint"] is None:
        return 0
    with tempfile.TemporaryDirectory(dir=it.home.parent) as folder:
        [file] = it.workspace.jobs.download_checkpoint(name, Path(folder))
        return int(file.read_text())


def test_a_spot_job_that_gave_way_goes_on_where_it_was_stopped(it: Installation):
    begin(it, "spot", 120, queue_settings={"job_tier": "spot"})
    until(lambda: len(steps(it, "spot", 1)) >= 5, "it counts")
    it.submit("urgent", "true", queue_settings={"job_tier": "premium"})
    it.comes_to("urgent", "Completed")
    assert it.comes_to("spot", "Completed")["attempt"] == 2
    first, second = steps(it, "spot", 1), steps(it, "spot", 2)
    assert first == list(range(1, len(first) + 1))
    assert second[0] - first[-1] in (1, 2)  # 2: it was stopped between keeping a step and printing it
    assert second == list(range(second[0], 121))
    assert kept(it, "spot") == 120


def test_a_job_whose_runner_is_killed_goes_on_from_its_last_checkpoint(it: Installation):
    begin(it, "lost", 200)
    until(lambda: kept(it, "lost") > 0, "a checkpoint is kept while it runs")
    job = it.job("lost")
    assert job["attempt"] == 1
    known = kept(it, "lost")
    for pid in it.runner(job["nodes"][0]):
        end(pid)
    assert it.comes_to("lost", "Completed", within_s=120)["attempt"] == 2
    second = steps(it, "lost", 2)
    assert second == list(range(second[0], 201))
    assert second[0] > known
    assert kept(it, "lost") == 200
