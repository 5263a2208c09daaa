"""Makes what real scoring servers need: the models, their environment, and the folder that is searched behind it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ultramarine import curated
from ultramarine.locks.site import site_options
from ultramarine_runner.environments import Recipe, ensure

ROOT = Path(__file__).parents[3]
LOCK = ROOT / "requirements" / "scoring-tests.txt"
SAVE_ESTIMATORS = Path(__file__).with_name("save_estimators.py")
SAVE_MODELS = Path(__file__).with_name("save_models.py")
UV = Path(sys.executable).with_name("uv")


@dataclass(frozen=True)
class ModelEnvironment:
    """An environment with scikit-learn and its kin, and models that were saved in it."""

    python: Path
    site: Path
    onnx_site: Path
    models: Path
    estimators: Path


def make() -> ModelEnvironment:
    """Each part is made once for each content of what it is made from, and kept for later test runs."""
    cache = Path(os.environ.get("ULTRAMARINE_TEST_CACHE") or Path.home() / ".cache" / "ultramarine-tests")
    locked = _hash(LOCK)
    environment = _once(cache / f"scoring-env-{locked}", _make_environment)
    python = environment / "bin" / "python"
    models = _once(
        cache / f"scoring-models-{locked}-{_hash(SAVE_MODELS)}",
        lambda folder: _run(str(python), str(SAVE_MODELS), str(folder)),
    )
    estimators = _once(
        cache / f"scoring-estimators-{locked}-{_hash(SAVE_ESTIMATORS)}",
        lambda folder: _run(str(python), str(SAVE_ESTIMATORS), str(folder)),
    )
    sites = {"site": _site(cache, "serving"), "onnx_site": _site(cache, "onnx")}
    return ModelEnvironment(python=python, models=models, estimators=estimators, **sites)


def _site(cache: Path, name: str) -> Path:
    """The folder of one of our own curated environments, as a node makes it."""
    one = curated.load()[name]
    lock = one.lock(python=f"3.{sys.version_info.minor}", platform=f"linux-{os.uname().machine}")
    recipe = Recipe(digest=lock.digest, lock=lock.text.encode(), python=lock.python)
    home = ensure(cache, recipe, options=site_options().to_json(), uv=str(UV), progress=lambda _: None)
    return next(home.glob("lib/python3*/site-packages"))


def _make_environment(folder: Path) -> None:
    # At its final place, not beside it: scripts and links in an environment hold its path.
    _run(str(UV), "venv", "--quiet", "--python", sys.executable, str(folder))
    _run(str(UV), "pip", "install", "--quiet", "--require-hashes", "--python", str(folder), "-r", str(LOCK))


def _once(folder: Path, make_it: Callable[[Path], object]) -> Path:
    done = folder.with_suffix(".done")
    with _locked(folder.with_suffix(".lock")):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            make_it(folder)
            done.touch()
    return folder


@contextmanager
def _locked(path: Path) -> Generator[None]:
    """Several test processes begin at once; one makes, the others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes() + sys.version.encode()).hexdigest()[:16]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
