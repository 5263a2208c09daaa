"""One build of an environment by uv: a folder aside, whole at the end and renamed, or gone."""

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from ultramarine_runner import trees
from ultramarine_runner.bytecode import Shared
from ultramarine_runner.pythons import find_python, find_pythons

TURN_S = 0.1  #: between two looks at a build that goes on
WORDS_MAX = 1500
_PIN = re.compile(rb"^([A-Za-z0-9][^=\s;]*)==(?!=)", re.MULTILINE)
MARK = "ULTRAMARINE_BUILDING"  #: in the environment of every process of a build: the folder it works on
MIRROR = "UV_PYTHON_INSTALL_MIRROR"  #: where uv's own Pythons are


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


class Build:
    """One build, for who holds the lock of its environment."""

    def __init__(self, home: Path, deadline: float, progress: Callable[[str], None]) -> None:
        self.home = home
        self.aside = home.with_name(f".building-{home.name}-{os.getpid()}")
        self.deadline = deadline
        self.progress = progress

    def make(self, recipe: Recipe, pinned: int, with_uv: tuple[str, dict[str, str], bool]) -> None:
        """`pinned`: how many packages; `with_uv`: the program, its variables, whether it may ask no index."""
        python, (uv, variables, no_index) = recipe.python, with_uv
        began = time.time()
        interpreter = find_python(python) or find_python(python)  # twice: on a busy machine it may answer too late
        if interpreter is None:
            interpreter = self._mirrored(python, uv, variables)
        try:
            self.progress("environment: making it")
            command = [uv, "venv", "--relocatable", "--no-project", "--quiet", "--python", interpreter, str(self.aside)]
            self._run(command, variables, lambda: "environment: making it")
            if pinned:
                self._install(recipe, pinned, uv, variables, ["--no-index"] if no_index else [])
            self._finish(python, began)
        finally:
            delete(self.aside)

    def _mirrored(self, python: str, uv: str, variables: dict[str, str]) -> str:
        """A Python of uv's own, fetched from where the site says that those are, and kept beside the environments."""
        there = ", ".join(find_pythons()) or "none"
        absent = f"Python {python} is not on this machine; there is: {there}."
        if not variables.get(MIRROR):
            raise EnvironmentFailed(f"{absent} Install it, or choose one of those in the environment.")
        folder = Path(variables["UV_CACHE_DIR"]).with_name("pythons")
        if not (found := _own_pythons(folder, python)):
            fetching = {**variables, "UV_PYTHON_INSTALL_DIR": str(folder), "UV_PYTHON_DOWNLOADS": "manual"}
            command = [uv, "python", "install", "--no-bin", python]
            try:
                self._run(command, fetching, lambda: f"environment: fetching Python {python}")
            except EnvironmentFailed as error:
                raise EnvironmentFailed(f"{absent} Nor has the site's mirror given it: {error}") from None
            found = _own_pythons(folder, python)
        if not found:
            raise EnvironmentFailed(f"{absent} Nor was it there when uv had fetched it from the site's mirror.")
        return found[-1]

    def _install(self, recipe: Recipe, pinned: int, uv: str, variables: dict[str, str], more: list[str]) -> None:
        requirements = self.aside / "lock.txt"
        # `==1.0` would take 1.0+cpu where the site has that too, and before 1.0; `===` means what was locked.
        requirements.write_bytes(_PIN.sub(rb"\1===", recipe.lock))
        fixed = ["--verbose", "--require-hashes", "--only-binary", ":all:", *more]
        command = [uv, "pip", "sync", *fixed, "--python", str(self.aside / "bin" / "python"), str(requirements)]
        cache = Path(variables["UV_CACHE_DIR"])
        shown = _Shown(self.aside, cache, pinned)
        self._run(command, variables, shown.words)
        shared = Shared(self.aside, cache.with_name("bytecode"), python=recipe.python)
        if shared.link():
            # All is in place: this only compiles, and what has its byte code is passed over.
            compiling = {**variables, "UV_COMPILE_BYTECODE_TIMEOUT": "600", "UV_OFFLINE": "1"}
            self._run([*command, "--compile-bytecode"], compiling, shown.words)
            shared.keep()

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
        told = {
            "digest": self.home.name,
            "python": python,
            "packages": packages,
            "built_at": round(time.time(), 3),
            "seconds": round(time.time() - began, 3),
        }
        with open(self.aside / "ultramarine.json", "w", encoding="utf-8") as file:
            json.dump(told, file)
        _make_read_only(self.aside)
        if packages:
            os.sync()  # or a power cut right after the rename could leave empty files in what looks whole
        os.rename(self.aside, self.home)


def _own_pythons(folder: Path, python: str) -> list[str]:
    return sorted(str(path.resolve()) for path in folder.glob(f"cpython-{python}.*/bin/python{python}"))


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
        return about(OSError(errno.ENOSPC, ""), home)
    plain = [
        line.strip()
        for line in log.replace("===", "==").splitlines()
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
    missing = re.search(r"([A-Za-z0-9._-]+)==[A-Za-z0-9.]+\+([a-z0-9.]+)", text)
    if missing and re.search(r"no version of|not found in the|no wheels? ", text):
        return _about_local_version(missing[0], missing[1], missing[2])
    if re.search(
        r"error sending request|[Ff]ailed to fetch|[Nn]etwork connectivity is disabled|dns error|tcp connect", text
    ):
        return f"This machine does not get an answer from the package index: {text}"
    return text


def _about_local_version(pinned: str, name: str, label: str) -> str:
    """PyPI takes no release with a label behind a `+`: such builds are on their makers' own indexes."""
    whose, where = "its makers' own index", "ADDRESS"
    if name.startswith("torch"):
        whose, where = "PyTorch's own index", f"https://download.pytorch.org/whl/{label}"
    return (
        f"No package index of this site has {pinned}: builds that are marked +{label} are on {whose} alone. Where the "
        f"server runs, write `extra-index-url = {where}` below [global] in /etc/pip.conf (or `find-links = FOLDER`, "
        "with the wheel in that folder), and start it again: um down --keep-runs; um up -d"
    )


def about(error: OSError, where: Optional[Path]) -> str:
    """What stopped the writing below `where`, in words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full: the environment does not fit below {where}. "
            "Free some space, or give the runner's cache another disk."
        )
    which = f" ({error.filename})" if error.filename else ""
    return f"The environment cannot be written below {where}: {error.strerror or error}{which}."


def lock_of(home: Path) -> Path:
    """What who builds it holds alone. It is never deleted: that would let two hold it."""
    return home.with_name(f"{home.name}.lock")


def clear_leftovers(home: Path) -> None:
    """Of builders that were killed: their uv first, or it would go on writing. Only called by who holds the lock."""
    ours = re.compile(rf"^\.building-{re.escape(home.name)}-\d+(\.log)?$")
    for left in [path for path in home.parent.iterdir() if ours.match(path.name)]:
        _end_processes_of(left)
        delete(left)


def _end_processes_of(folder: Path) -> None:
    until = time.monotonic() + 5.0
    while time.monotonic() < until:
        found = trees.carriers(MARK, str(folder))
        if not found:
            return
        trees.send(found, signal.SIGKILL)
        time.sleep(0.01)


def delete(folder: Path) -> None:
    """Delete a tree that may be read-only, or a file."""
    if folder.is_file():
        folder.unlink()
    for path, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)
