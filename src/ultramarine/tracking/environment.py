"""MLflow's own environment: built once from the lock, aside, and renamed when it is whole."""

import ctypes
import fcntl
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ultramarine.locks.site import site_options
from ultramarine.tracking.progress import say

HERE = Path(__file__).parent
LOCK = HERE / "mlflow.lock"
PLUGIN = HERE / "plugin"
_LAYOUT = "1"  # change it when what is built changes, but not by the lock
_PR_SET_PDEATHSIG = 1
_MIGRATE = (
    "import sys; sys.path.insert(0, sys.argv[1]); from ultramarine_mlflow.migrate import migrate; migrate(sys.argv[2])"
)


class BuildFailed(Exception):
    """The environment could not be built; the text says why, for the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A folder with MLflow's virtual environment and an empty database of its schema."""

    folder: Path
    digest: str

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def empty_database(self) -> Path:
        return self.folder / "empty.db"

    @property
    def is_whole(self) -> bool:
        """It was built, and the Python that it stands on is still there."""
        return self.python.exists()


def environment_in(folder: Path) -> Environment:
    """Where the environment of this lock, Python and platform is, or will be."""
    facts = (_LAYOUT, platform.python_version(), sys.implementation.cache_tag, platform.machine(), LOCK.read_text())
    digest = hashlib.sha256("\n".join(map(str, facts)).encode()).hexdigest()[:16]
    return Environment(folder=folder / f"env-{digest}", digest=digest)


def ensure_environment(folder: Path, *, environ: Mapping[str, str]) -> Environment:
    """The environment under `folder`; built first where it is missing. Of several callers at once, one builds.

    Raises:
        BuildFailed: a package cannot be had, or the disk is full; nothing half-made is left visible.
    """
    wanted = environment_in(folder)
    if wanted.is_whole:
        return wanted
    folder.mkdir(parents=True, exist_ok=True)
    with _exclusive(folder / f"env-{wanted.digest}.lock"):
        if wanted.is_whole:
            return wanted
        for left in (wanted.folder, *folder.glob(f".building-{wanted.digest}-*")):  # of builders that were killed
            shutil.rmtree(left, ignore_errors=True)
        aside = folder / f".building-{wanted.digest}-{os.getpid()}"
        try:
            _build(wanted, aside=aside, environ=environ)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    return wanted


@contextmanager
def _exclusive(path: Path) -> Generator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that builds the environment")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(wanted: Environment, *, aside: Path, environ: Mapping[str, str]) -> None:
    started = time.monotonic()
    uv, site = _uv(), site_options(environ)
    variables = {**environ, **site.to_uv_variables(), "UV_NO_PROGRESS": "1"}
    variables.pop("UV_CONSTRAINT", None)  # every version is pinned already
    made = Environment(folder=aside, digest=wanted.digest)
    say("environment: 1 of 3, virtual environment")
    _run([uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, str(aside)], variables)
    say("environment: 2 of 3, packages (about 240 MB; the first time they are downloaded)")
    install = [uv, "pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode", "--only-binary", ":all:"]
    install += ["--no-index"] if site.no_index else []
    _run([*install, "--python", str(made.python), str(LOCK)], variables)
    say("environment: 3 of 3, empty database")
    migrate(made, made.empty_database, environ=environ)
    aside.rename(wanted.folder)
    say(f"environment: ready after {time.monotonic() - started:.0f} s")


def migrate(environment: Environment, database: Path, *, environ: Mapping[str, str]) -> None:
    """Bring an SQLite file, empty or of an older MLflow, to this MLflow's schema, in place.

    Raises:
        BuildFailed: MLflow refused; its own words are in the text.
    """
    command = [str(environment.python), "-I", "-B", "-W", "ignore", "-c", _MIGRATE, str(PLUGIN), str(database)]
    _run(command, {**environ, "MLFLOW_DISABLE_TELEMETRY": "true", "TMPDIR": str(database.parent)})


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if not found:
        raise BuildFailed(
            "The program uv is missing. Install the server's packages again: pip install 'ultramarine[server]'"
        )
    return found


def _run(command: list[str], environ: Mapping[str, str]) -> None:
    done = subprocess.run(
        command, env=dict(environ), capture_output=True, text=True, preexec_fn=_die_with_parent, check=False
    )
    if done.returncode:
        raise BuildFailed(
            f"{Path(command[0]).name} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-4000:]}"
        )


def _die_with_parent() -> None:
    """Runs in the child: a killed launch leaves no builder behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
