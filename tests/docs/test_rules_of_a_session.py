"""What tests/conftest.py promises: in CI a skip fails, and nowhere is a process left over."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
LEAVES_ONE = """
import subprocess, sys
def test_leaves_one():
    child = subprocess.Popen([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(30)"],
                             stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout.readline() == b"up\\n"
    open("left", "w").write(str(child.pid))
"""


def session(folder: Path, text: str, ci: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(CONFTEST, folder / "conftest.py")
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "ULTRAMARINE_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=folder,
        env={**variables, "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_a_skipped_test_fails_the_session_in_ci_and_only_there(tmp_path: Path, ci: str, code: int):
    done = session(tmp_path, "import pytest\ndef test_a():\n    pytest.skip('no moon tonight')\n", ci)
    assert done.returncode == code, done.stdout
    assert ("no moon tonight" in done.stdout) == (ci == "true")


def test_a_module_skipped_whole_fails_too(tmp_path: Path):
    done = session(tmp_path, "import pytest\npytest.importorskip('no_such_module')\ndef test_a(): pass\n", "true")
    assert done.returncode != 0, done.stdout


def test_a_process_left_over_fails_the_session_and_is_named(tmp_path: Path):
    done = session(tmp_path, LEAVES_ONE, "")
    pid = int((tmp_path / "left").read_text())
    os.kill(pid, 9)
    assert done.returncode == 1, done.stdout
    assert f"{pid}: " in done.stdout


def test_a_session_that_does_nothing_wrong_passes(tmp_path: Path):
    assert session(tmp_path, "def test_a(): pass\n", "true").returncode == 0
