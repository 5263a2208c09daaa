"""Whatever breaks, every job ends once and nothing is left. Seeds repeat: the failing one is in the test's name.

More of them: `make sim N=2000`.
"""

import os
from pathlib import Path

import pytest
from tests.simulation.story import live_through

SEEDS = int(os.environ.get("ULTRAMARINE_TEST_SEEDS", "200"))


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_whatever_breaks_every_job_ends_once_and_nothing_is_left(seed: int, tmp_path: Path) -> None:
    live_through(seed, tmp_path)
