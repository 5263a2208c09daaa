"""What a runner says of a preparation: every word as progress, each step once in the log."""

from pathlib import Path

import pytest

from ultramarine_runner import work
from ultramarine_runner.work import Notes


def test_a_step_that_goes_on_is_one_line_of_the_log(tmp_path: Path):
    progress: list[str] = []
    notes = Notes(tmp_path / "log.txt", progress.append)
    notes("fetching 0123456789ab")
    notes("fetching ba9876543210")
    for count in range(30):
        notes(f"environment: fetching, {count} of 81 packages")
    notes("environment: 81 of 81 packages, compiling")
    assert (tmp_path / "log.txt").read_text().splitlines() == [
        "fetching 0123456789ab",
        "environment: fetching, 0 of 81 packages",
        "environment: 81 of 81 packages, compiling",
    ]
    assert len(progress) == 33


def test_a_long_step_says_now_and_then_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(work, "QUIET_S", 0.0)
    notes = Notes(tmp_path / "log.txt", lambda words: None)
    for count in range(3):
        notes(f"environment: fetching, {count} of 81 packages")
    assert len((tmp_path / "log.txt").read_text().splitlines()) == 3
