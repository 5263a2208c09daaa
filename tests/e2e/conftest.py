"""What the installations of a session share: packages that were fetched once."""

import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from tests.e2e.chaos import figures

from . import dice
from .installation import LIVING


@pytest.fixture(scope="session")
def cache() -> Iterator[Path]:
    """Environments, uv's downloads, MLflow's environment; `ULTRAMARINE_TEST_CACHE` keeps them for the next session."""
    if kept := os.environ.get("ULTRAMARINE_TEST_CACHE"):
        yield Path(kept)
        return
    with tempfile.TemporaryDirectory(prefix="um-cache-", ignore_cleanup_errors=True) as made:
        yield Path(made)
        for folder, _, _ in os.walk(made):  # environments are read-only
            os.chmod(folder, 0o700)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What fails may not fail again: the logs are shown while they are there."""
    report = yield
    if report.failed:
        report.sections += [(f"logs of {each.home}", each.told()) for each in LIVING]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    told = {"kills that nothing was lost by": dice.table(), "a storm that all jobs came through": figures.table()}
    for title, rows in told.items():
        if rows:
            terminalreporter.section(title)
        for row in rows:
            terminalreporter.line(row)
