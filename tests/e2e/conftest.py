"""What the installations of a session share: packages that were fetched once."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.chaos import figures

from . import dice


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    told = {"kills that nothing was lost by": dice.table(), "a storm that all jobs came through": figures.table()}
    for title, rows in told.items():
        if rows:
            terminalreporter.section(title)
        for row in rows:
            terminalreporter.line(row)
