"""Which Pythons this machine has. Each is tried, as what it will be needed for: the interpreter of a virtual
environment."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Optional

OLDEST = (3, 8)  #: that uv makes environments for
ANSWER_S = 10.0  #: that a Python may take to start
_NAME = re.compile(r"^python3(\.\d+)?$")
_ASK = (
    "import sys, zlib, hashlib, json; "
    "print(sys.implementation.name, '%d.%d' % sys.version_info[:2], sys.prefix, getattr(sys, 'abiflags', ''), sep='|')"
)


_remembered: dict[str, str] = {}


def find_python(version: str) -> Optional[str]:
    """The path of one Python, by x.y. What was found before and is still there is not tried again: looking costs up to
    a second."""
    path = _remembered.get(version)
    return path if path and os.path.exists(path) else find_pythons().get(version)


def find_pythons() -> dict[str, str]:
    """x.y -> path, oldest first. Of several with the same x.y: the one that runs us, then PATH's order, the system's,
    pyenv's, uv's."""
    candidates: dict[str, None] = {}
    for path in _candidates():
        if _is_program(path):
            candidates.setdefault(os.path.realpath(path))
    with ThreadPoolExecutor(max_workers=4) as pool:
        answers = list(pool.map(_tried, candidates))
    found: dict[tuple[int, ...], str] = {}
    for path, version in zip(candidates, answers):
        if version is not None and version >= OLDEST:
            found.setdefault(version, path)
    _remembered.clear()
    _remembered.update({".".join(map(str, version)): found[version] for version in sorted(found)})
    return dict(_remembered)


def _candidates() -> Iterator[str]:
    yield getattr(sys, "_base_executable", None) or sys.executable
    for folder in [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin", "/usr/local/bin"]:
        yield from _in(folder)
    home = Path(os.path.expanduser("~"))
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv")
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    managed = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    for folder in (pyenv / "versions", managed):
        for installed in _sorted(folder):
            yield from _in(os.path.join(str(folder), installed, "bin"))


def _in(folder: str) -> Iterator[str]:
    for name in _sorted(Path(folder)) if folder else ():
        path = os.path.join(folder, name)
        if _NAME.match(name) and os.access(path, os.X_OK):
            yield path


def _is_program(path: str) -> bool:
    """Not a script that starts some Python, as pyenv's shims do: none of a virtual environment's, and slow to start."""
    try:
        with open(path, "rb") as stream:
            return stream.read(2) != b"#!"
    except OSError:
        return False


def _sorted(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _tried(python: str) -> Optional[tuple[int, ...]]:
    """Its version, if it starts as the Python of a virtual environment made for the purpose."""
    place = tempfile.mkdtemp(prefix="ultramarine-python-")
    try:
        os.mkdir(os.path.join(place, "bin"))
        inside = os.path.join(place, "bin", "python")
        os.symlink(python, inside)
        Path(place, "pyvenv.cfg").write_text(
            f"home = {os.path.dirname(python)}\ninclude-system-site-packages = false\n", encoding="utf-8"
        )
        done = subprocess.run(
            [inside, "-I", "-c", _ASK], stdin=subprocess.DEVNULL, capture_output=True, timeout=ANSWER_S, check=False
        )
        name, version, prefix, abiflags = done.stdout.decode("utf-8", "replace").strip().split("|")
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    else:
        works = name == "cpython" and os.path.realpath(prefix) == os.path.realpath(place) and "t" not in abiflags
        return tuple(int(part) for part in version.split(".")) if works else None
    finally:
        shutil.rmtree(place, ignore_errors=True)
