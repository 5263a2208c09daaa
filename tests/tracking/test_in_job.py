"""What a job's Pythons find on PYTHONPATH, without MLflow: it must never be in the way."""

import subprocess
import sys
from pathlib import Path

import pytest

from ultramarine.tracking.in_job import ultramarine_in_job
from ultramarine.tracking.variables import IN_JOB_ZIP, in_job_zip, python_path


def python(script: str, path: str) -> str:
    """What a fresh Python says that is started with this PYTHONPATH."""
    done = subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": path}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.fixture
def packed(tmp_path: Path) -> str:
    (tmp_path / IN_JOB_ZIP).write_bytes(in_job_zip())
    return str(tmp_path / IN_JOB_ZIP)


def test_the_users_own_folders_come_first():
    assert python_path("src:lib") == f"src:lib:{{{{file:{IN_JOB_ZIP}}}}}"
    assert python_path(None) == f"{{{{file:{IN_JOB_ZIP}}}}}"


def test_the_sitecustomize_of_the_environment_runs_too(packed: str, tmp_path: Path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "sitecustomize.py").write_text("import sys; sys.seen = True")
    script = "import sys, sitecustomize; print(sys.seen, sitecustomize.__file__.endswith('own/sitecustomize.py'))"
    assert python(script, f"{packed}:{tmp_path / 'own'}") == "True True"


def test_a_python_without_mlflow_is_left_as_it_is(packed: str):
    assert python("import sys, json; print('ultramarine_in_job' in sys.modules)", packed) == "False"


def test_an_mlflow_that_is_not_as_we_know_it_is_left_as_it_is(packed: str, tmp_path: Path):
    for name in ("mlflow/__init__.py", "mlflow/utils/__init__.py"):
        (tmp_path / "other" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "other" / name).touch()
    (tmp_path / "other" / "mlflow" / "utils" / "requirements_utils.py").write_text("here = 1")
    script = "from mlflow.utils import requirements_utils as r; print(r.here, hasattr(r, '_capture_imported_modules'))"
    assert python(script, f"{tmp_path / 'other'}:{packed}") == "1 False"


@pytest.mark.parametrize(
    ("variables", "rank"),
    [
        ({}, 0),
        ({"ULTRAMARINE_RANK": "3"}, 3),
        ({"ULTRAMARINE_RANK": "0", "RANK": "1", "WORLD_SIZE": "2"}, 1),
        ({"ULTRAMARINE_RANK": "0", "RANK": "8"}, 0),  # RANK alone may be anything: of a matrix, say
        ({"ULTRAMARINE_RANK": "0", "RANK": "8", "WORLD_SIZE": "many"}, 0),
    ],
)
def test_the_rank_is_the_launchers_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], rank: int
):
    for name in ("ULTRAMARINE_RANK", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ultramarine_in_job.rank() == rank
