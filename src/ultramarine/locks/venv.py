"""Virtual environments of our own parts: built once from a lock, aside, and renamed when they are whole."""

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
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ultramarine.locks.site import site_options

Say = Callable[[str], None]
_PR_SET_PDEATHSIG = 1


class BuildFailed(Exception):
    """The environment could not be built; the text says why, for the log."""


def digest(lock: Path, layout: str) -> str:
    """What names an environment: its lock, this Python and platform, and `layout`, the way in which it is built."""
    facts = (layout, platform.python_version(), sys.implementation.cache_tag, platform.machine(), lock.read_text())
    return hashlib.sha256("\n".join(map(str, facts)).encode()).hexdigest()[:16]


def ensure(
    folder: Path, lock: Path, *, environ: Mapping[str, str], say: Say, finish: Callable[[Path], None] | None = None
) -> None:
    """Have the environment in `folder`; of several callers at once, one builds. `finish` adds to what is aside still.

    Raises:
        BuildFailed: a package cannot be had, or the disk is full; nothing half-made is left visible.
    """
    if _is_whole(folder):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive(folder.with_name(f"{folder.name}.lock"), say):
        if _is_whole(folder):
            return
        for left in (folder, *folder.parent.glob(f".building-{folder.name}-*")):  # of builders that were killed
            shutil.rmtree(left, ignore_errors=True)
        aside = folder.with_name(f".building-{folder.name}-{os.getpid()}")
        try:
            _build(aside, lock, environ=environ, say=say)
            if finish is not None:
                finish(aside)
            aside.rename(folder)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


def _is_whole(folder: Path) -> bool:
    """It was built, and the Python that it stands on is still there."""
    return (folder / "bin" / "python").exists()


@contextmanager
def _exclusive(path: Path, say: Say) -> Generator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that builds the environment")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(aside: Path, lock: Path, *, environ: Mapping[str, str], say: Say) -> None:
    started = time.monotonic()
    uv, site = _uv(), site_options(environ)
    variables = {**environ, **site.to_uv_variables(), "UV_NO_PROGRESS": "1"}
    variables.pop("UV_CONSTRAINT", None)  # every version is pinned already
    say("environment: virtual environment")
    run([uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, str(aside)], variables)
    say("environment: packages (the first time they are downloaded, which may be some 100 MB)")
    install = [uv, "pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode", "--only-binary", ":all:"]
    install += ["--no-index"] if site.no_index else []
    run([*install, "--python", str(aside / "bin" / "python"), str(lock)], variables)
    say(f"environment: packages are there after {time.monotonic() - started:.0f} s")


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if not found:
        raise BuildFailed(
            "The program uv is missing. Install the server's packages again: pip install 'ultramarine[server]'"
        )
    return found


def run(command: list[str], environ: Mapping[str, str]) -> None:
    """Run a step of a build to its end. Raises `BuildFailed` with its own words."""
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
