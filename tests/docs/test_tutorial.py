"""Every block of the tutorials that is to be copied runs as it stands, in order, in a fresh home."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.e2e.installation import free_ports

from .tutorial import SHOWN, TYPED, blocks, follow

PAGES = ("first-job.md", "from-laptop-to-fleet.md", "train-register-deploy.md")
NOTEBOOK = "your-first-notebook.md"  #: followed with a browser, by tests/e2e/test_first_notebook.py


@pytest.mark.parametrize("page", [*PAGES, NOTEBOOK])
def test_every_block_is_saved_or_typed_or_shown(page: str):
    kinds = {
        str(block): (
            bool(block.file),
            block.language == TYPED,
            block.language == SHOWN,
            block.is_cell and page == NOTEBOOK,
        )
        for block in blocks(page)
    }
    assert [block for block, is_a in kinds.items() if sum(is_a) != 1] == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", PAGES)
def test_a_reader_who_copies_every_block_gets_through(page: str, tmp_path: Path):
    with tempfile.TemporaryDirectory(prefix="um-") as home:  # sockets need a short path
        variables = {name: value for name, value in os.environ.items() if not name.startswith("ULTRAMARINE_")}
        variables |= {name: value for name, value in os.environ.items() if name.startswith("ULTRAMARINE_TEST")}
        variables |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ULTRAMARINE_HOME": home,
            "ULTRAMARINE_PORT": str(free_ports()),
        }
        if cache := os.environ.get("ULTRAMARINE_TEST_CACHE"):
            variables["ULTRAMARINE_CACHE"] = cache
        try:
            for block in blocks(page):
                follow(block, tmp_path, variables)
        finally:
            subprocess.run(["um", "down"], env=variables, check=False, capture_output=True, timeout=180)
