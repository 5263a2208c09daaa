"""Environments on this node: built once from a lock by uv, read-only, shared by all runs of the host.

`<cache>/environments/<digest>/` is whole or not there: it is built aside and renamed. Builders of the same digest
queue at a file lock and share one build;
what a killed builder leaves (its folder, its uv) is cleared by the next. Several digests share `<cache>/uv`, from
which files are hard-linked.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from ultramarine_runner.pythons import find_python, find_pythons
from ultramarine_runner.trees import ALLOCATION

__all__ = ["EnvironmentFailed", "Recipe", "ensure", "find_pythons"]

TIMEOUT_S = 1800.0  #: for a build, its waiting for another builder included
TURN_S = 0.1  #: between two looks at a build that goes on
WORDS_MAX = 1500
MARK = "ULTRAMARINE_BUILDING"  #: in the environment of every process of a build: the folder it works on
_DIGEST = re.compile(r"^[A-Za-z0-9_-]{1,120}\Z")
_PINNED = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._, -]*\])?==[A-Za-z0-9.+!_-]+(\s*;[^\\]*)?\s*\\?$")
_HASH = re.compile(r"^\s+--hash=[a-z0-9]+:[0-9a-f]+\s*\\?$")
_PASSED_ON = re.compile(r"^(UV_.*|.*_proxy|SSL_CERT_.*|PATH|HOME|LANG|LC_ALL|TMPDIR|NETRC)$", re.IGNORECASE)


class EnvironmentFailed(Exception):
    """An environment could not be made; `words` say which requirement and why."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


@dataclass(frozen=True)
class Recipe:
    """What an environment is made from: its name, the requirements with hashes, the Python (x.y)."""

    digest: str
    lock: bytes
    python: str


def ensure(
    cache: Path, recipe: Recipe, *, options: Mapping[str, Any], uv: str, progress: Callable[[str], None]
) -> Path:
    """The environment's folder, built if it is not there yet.

    `options` are the site's (`index_url`, `extra_index_urls`, `find_links`, `cert`, `trusted_hosts`,
    `offline`, `no_index`) and `timeout_s`.
    `progress` gets words several times a second while it takes time; what it raises cancels the build, which then
    leaves nothing.
    Raises EnvironmentFailed.
    """
    digest = recipe.digest
    if not _DIGEST.match(digest):
        raise EnvironmentFailed(f"{digest!r} is no name of an environment.")
    home = cache / "environments" / digest
    if _is_whole(home):
        return home
    home = home.absolute()  # uv is started elsewhere
    cache = cache.absolute()
    deadline = time.monotonic() + float(options.get("timeout_s", TIMEOUT_S))
    pinned = _checked(recipe.lock, digest)
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with _alone(home.with_name(f"{digest}.lock"), deadline, progress):
            if not _is_whole(home):
                _clear_leftovers(home)
                with_uv = (uv, _variables(cache, options), bool(options.get("no_index")))
                _Build(home, deadline, progress).make(recipe, pinned, with_uv)
    except OSError as error:
        raise EnvironmentFailed(_about(error, cache)) from None
    return home


def _is_whole(home: Path) -> bool:
    """Its last file is there, and its Python has not been taken away since."""
    try:
        os.stat(home / "ultramarine.json")
        os.stat(home / "bin" / "python")
    except OSError:
        return False
    return True


def _checked(lock: bytes, digest: str) -> int:
    """How many packages it pins. A line that is neither a pinned name nor a hash (an option, a path, a URL) is
    refused."""
    pinned = 0
    for number, line in enumerate(lock.decode("utf-8", "replace").splitlines(), 1):
        if not line.strip() or line.startswith("#") or _HASH.match(line):
            continue
        if not _PINNED.match(line):
            raise EnvironmentFailed(
                f"Line {number} of the lock of {digest[:12]} is no pinned requirement: {line[:80]!r}."
            )
        pinned += 1
    return pinned


def _variables(cache: Path, options: Mapping[str, Any]) -> dict[str, str]:
    """uv's environment: what the site says goes over what this node has."""
    found = {name: value for name, value in os.environ.items() if _PASSED_ON.match(name) or name == ALLOCATION}
    for name, key in (("UV_DEFAULT_INDEX", "index_url"), ("SSL_CERT_FILE", "cert")):
        if options.get(key):
            found[name] = str(options[key])
    for name, key, between in (
        ("UV_INDEX", "extra_index_urls", " "),
        ("UV_FIND_LINKS", "find_links", ","),
        ("UV_INSECURE_HOST", "trusted_hosts", " "),
    ):
        if options.get(key):
            found[name] = between.join(str(value) for value in options[key])
    if options.get("offline"):
        found["UV_OFFLINE"] = "1"
    # Every file is checked against its hash, so any index may give it: the same set of indexes the lock was made from.
    fixed = {
        "UV_CACHE_DIR": str(cache / "uv"),
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
        "NO_COLOR": "1",
    }
    return {**found, **fixed}


@contextlib.contextmanager
def _alone(file: Path, deadline: float, progress: Callable[[str], None]) -> Generator[None, None, None]:
    """Hold the lock file; others wait, with words. The kernel gives it back when its holder dies. It is never deleted:
    that would let two hold it."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                progress("environment: another run on this machine is building it")
            if time.monotonic() > deadline:
                raise EnvironmentFailed(
                    "Another run on this machine has been building this environment for longer than the time limit."
                )
            time.sleep(TURN_S)
        yield
    finally:
        os.close(handle)


def _clear_leftovers(home: Path) -> None:
    """Of builders that were killed: their uv first, or it would go on writing. Only called by who holds the lock."""
    ours = re.compile(rf"^\.building-{re.escape(home.name)}-\d+(\.log)?$")
    for left in [path for path in home.parent.iterdir() if ours.match(path.name)]:
        _end_processes_of(left)
        _delete(left)
    if home.exists():  # its Python is gone
        _delete(home)


def _end_processes_of(folder: Path) -> None:
    mark = f"{MARK}={folder}".encode()
    until = time.monotonic() + 5.0
    while time.monotonic() < until:
        found = [pid for pid in _pids() if mark in _environment_of(pid).split(b"\0")]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _environment_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _delete(folder: Path) -> None:
    """Delete a tree that may be read-only, or a file."""
    if folder.is_file():
        folder.unlink()
    for path, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)


class _Build:
    """One build: a folder aside, uv in it, whole at the end or gone."""

    def __init__(self, home: Path, deadline: float, progress: Callable[[str], None]) -> None:
        self.home = home
        self.aside = home.with_name(f".building-{home.name}-{os.getpid()}")
        self.deadline = deadline
        self.progress = progress

    def make(self, recipe: Recipe, pinned: int, with_uv: tuple[str, dict[str, str], bool]) -> None:
        """`pinned`: how many packages; `with_uv`: the program, its variables, whether it may ask no index."""
        python, (uv, variables, no_index) = recipe.python, with_uv
        began = time.time()
        interpreter = find_python(python)
        if interpreter is None:
            there = ", ".join(find_pythons()) or "none"
            raise EnvironmentFailed(
                f"Python {python} is not on this machine; there is: {there}. Install it, or choose one of those in the "
                f"environment."
            )
        try:
            self.progress("environment: making it")
            command = [uv, "venv", "--relocatable", "--no-project", "--quiet", "--python", interpreter, str(self.aside)]
            self._run(command, variables, lambda: "environment: making it")
            if pinned:
                self._install(recipe.lock, pinned, uv, variables, ["--no-index"] if no_index else [])
            self._finish(python, began)
        finally:
            _delete(self.aside)

    def _install(self, lock: bytes, pinned: int, uv: str, variables: dict[str, str], more: list[str]) -> None:
        requirements = self.aside / "lock.txt"
        requirements.write_bytes(lock)
        command = [
            uv,
            "pip",
            "sync",
            "--verbose",
            "--require-hashes",
            "--only-binary",
            ":all:",
            "--compile-bytecode",
            *more,
        ]
        command += ["--python", str(self.aside / "bin" / "python"), str(requirements)]
        shown = _Shown(self.aside, Path(variables["UV_CACHE_DIR"]), pinned)
        self._run(command, {**variables, "UV_COMPILE_BYTECODE_TIMEOUT": "600"}, shown.words)

    def _run(self, command: list[str], variables: dict[str, str], words: Callable[[], str]) -> None:
        """Run uv in its own session, telling how far it is; it ends with the deadline, or when `progress` raises. At
        `/`, where no project's uv.toml is above."""
        log = self.home.with_name(f".building-{self.home.name}-{os.getpid()}.log")
        try:
            with open(log, "wb") as out:
                try:
                    process = subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=out,
                        cwd="/",
                        env={**variables, MARK: str(self.aside)},
                        start_new_session=True,
                    )
                except OSError as error:
                    raise EnvironmentFailed(f"uv ({command[0]}) cannot be started: {error.strerror}.") from None
                try:
                    self._follow(process, words)
                finally:
                    if process.poll() is None:
                        with contextlib.suppress(ProcessLookupError):
                            os.killpg(process.pid, signal.SIGKILL)
                        process.wait()
            if process.returncode != 0:
                raise EnvironmentFailed(_explained(log.read_text("utf-8", "replace"), process.returncode, self.home))
        finally:
            with contextlib.suppress(OSError):
                log.unlink()

    def _follow(self, process: "subprocess.Popen[bytes]", words: Callable[[], str]) -> None:
        while True:
            try:
                process.wait(TURN_S)
                return
            except subprocess.TimeoutExpired:
                said = words()
                self.progress(said)
            if time.monotonic() > self.deadline:
                raise EnvironmentFailed(f"The time limit for the environment is over. It was at: {said}.")

    def _finish(self, python: str, began: float) -> None:
        packages = _installed(self.aside)
        about = {
            "digest": self.home.name,
            "python": python,
            "packages": packages,
            "built_at": round(time.time(), 3),
            "seconds": round(time.time() - began, 3),
        }
        with open(self.aside / "ultramarine.json", "w", encoding="utf-8") as file:
            json.dump(about, file)
        _make_read_only(self.aside)
        if packages:
            os.sync()  # or a power cut right after the rename could leave empty files in what looks whole
        os.rename(self.aside, self.home)


class _Shown:
    """How far uv is, read off what it has written: archives it has fetched, packages that are in place."""

    def __init__(self, aside: Path, cache: Path, pinned: int) -> None:
        self.aside = aside
        self.archives = cache / "archive-v0"
        self.pinned = pinned
        self.before = self._count()

    def words(self) -> str:
        installed = _installed(self.aside)
        if installed:
            return f"environment: {min(installed, self.pinned)} of {self.pinned} packages" + (
                ", compiling" if installed >= self.pinned else ""
            )
        return (
            f"environment: fetching, {min(max(self._count() - self.before, 0), self.pinned)} of {self.pinned} packages"
        )

    def _count(self) -> int:
        try:
            return len(os.listdir(self.archives))
        except OSError:
            return 0


def _installed(folder: Path) -> int:
    return sum(1 for _ in folder.glob("lib/python3*/site-packages/*.dist-info"))


def _make_read_only(folder: Path) -> None:
    """Take the write bits away. The files are hard links into uv's cache: there too nobody shall change them."""
    for path, _, files in os.walk(folder):
        for name in files:
            file = os.path.join(path, name)
            mode = os.lstat(file).st_mode
            if not stat.S_ISLNK(mode) and mode & 0o222:
                os.chmod(file, stat.S_IMODE(mode) & ~0o222)
        os.chmod(path, 0o555)


def _explained(log: str, code: int, home: Path) -> str:
    """What uv said, in few words and without secrets."""
    if "No space left on device" in log or "os error 28" in log:
        return _about(OSError(errno.ENOSPC, ""), home)
    plain = [
        line.strip()
        for line in log.splitlines()
        if line.strip() and not re.match(r"^\s*(DEBUG|TRACE|INFO|Using|warning:|hint:)", line)
    ]
    text = re.sub(
        r"(?<=://)[^/@\s`'\"]+@", "", " ".join(re.sub(r"^[\s×╰─▶├│|]*(error: |cause: )?", "", line) for line in plain)
    )
    text = text[:WORDS_MAX] or f"uv ended with {code if code >= 0 else signal.Signals(-code).name} and said nothing"
    mismatch = re.search(r"[Hh]ash mismatch for `?([^`\s]+)`?", text)
    if mismatch:
        return (
            f"{mismatch[1]} from the package index is not the file that was locked (its hash differs), so it was not "
            f"installed. Lock the environment again, or ask who keeps the index. {text}"
        )
    if re.search(
        r"error sending request|[Ff]ailed to fetch|[Nn]etwork connectivity is disabled|dns error|tcp connect", text
    ):
        return f"This machine does not get an answer from the package index: {text}"
    return text


def _about(error: OSError, where: Optional[Path]) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full: the environment does not fit below {where}. "
            "Free some space, or give the runner's cache another disk."
        )
    which = f" ({error.filename})" if error.filename else ""
    return f"The environment cannot be written below {where}: {error.strerror or error}{which}."
