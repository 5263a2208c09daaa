"""Building environments on a node: a cold build beside pip's, the second build of a lock, the disk of ten similar ones.

    .venv/bin/python -m benchmarks.environments [--quick] [--keep]

Both install the lock of the curated `sklearn`, from the same index, with nothing in their caches, in turn: ours as a
node does it, byte code included; pip into a fresh virtual environment, as it does it by default. conda and micromamba
are no packages of Python's index, so they are measured where they are on PATH, and said to be missing elsewhere.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path

from benchmarks import kept, measure
from benchmarks.measure import Row, Series
from ultramarine import curated
from ultramarine.locks.lock import Lock, read_lock
from ultramarine.locks.site import site_options
from ultramarine_runner.builds import delete
from ultramarine_runner.environments import Recipe, ensure, find_pythons

UV = str(Path(sys.executable).with_name("uv"))
PLATFORM = f"linux-{os.uname().machine}"
SECOND_GOAL_MS, DISK_GOAL, SIMILAR = 50.0, 1.3, 10
CONDAS = ("micromamba", "mamba", "conda")


def the_lock() -> Lock:
    one = curated.load()["sklearn"]
    return one.lock(python=one.choose_python(tuple(find_pythons())), platform=PLATFORM)


def build(cache: Path, lock: Lock) -> Path:
    recipe = Recipe(digest=lock.digest, lock=lock.text.encode(), python=lock.python)
    return ensure(cache, recipe, options=site_options().to_json(), uv=UV, progress=lambda _: None)


def similar(lock: Lock, count: int) -> Sequence[Lock]:
    """As many locks, each without another one of its packages."""
    parts = _packages(lock.text)
    less = (parts[:at] + parts[at + 1 :] for at in range(count))
    return [read_lock("".join(text), python=lock.python, platform=PLATFORM) for text in less]


def _packages(text: str) -> list[str]:
    """The lines of each."""
    found: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.startswith(" "):
            found[-1] += line
        else:
            found.append(line)
    return found


def cold_s(lock: Lock) -> float:
    with _folder() as folder:
        return _seconds(lambda: build(folder, lock))


def pip_s(lock: Lock) -> float:
    """pip on the same lock, without a cache. Dependencies are in the lock: pip is spared looking for them."""
    with _folder() as folder:
        requirements, python = folder / "lock.txt", find_pythons()[lock.python]
        requirements.write_text(lock.text)
        options = ("--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--quiet")

        def install() -> None:
            _call(python, "-m", "venv", str(folder / "env"))
            _call(str(folder / "env" / "bin" / "python"), "-m", "pip", "install", *options, "-r", str(requirements))

        return _seconds(install)


def conda_s(program: str, lock: Lock) -> float:
    """What a user types: the same names, from conda-forge, into a new root with nothing in it."""
    names = [name.partition(">")[0].partition("<")[0] for name in curated.load()["sklearn"].requirements]
    with _folder() as folder:
        root = {**os.environ, "MAMBA_ROOT_PREFIX": str(folder), "CONDA_PKGS_DIRS": str(folder / "pkgs")}
        words = (program, "create", "--yes", "--quiet", "--prefix", str(folder / "env"), "--channel", "conda-forge")
        return _seconds(lambda: _call(*words, f"python={lock.python}", *names, variables=root))


def cold_rows(lock: Lock, *, rounds: int) -> Sequence[Row]:
    works: dict[str, Callable[[], float]] = {"ours": lambda: cold_s(lock), "pip": lambda: pip_s(lock)}
    condas = [program for program in CONDAS if shutil.which(program)][:1]
    for program in condas:
        works[program] = lambda program=program: conda_s(program, lock)
    found = measure.in_turn(works, rounds=rounds, unit="s")
    what = f"cold build of `sklearn` ({len(lock.packages)} packages)"
    rows = [_beside(what, found["ours"], name=name, peer=peer) for name, peer in found.items() if name != "ours"]
    if not condas:
        rows.append(Row(what=what, figure=str(found["ours"]), beside=f"{', '.join(CONDAS)}: none is on this machine"))
    return rows


def _beside(what: str, ours: Series, *, name: str, peer: Series) -> Row:
    ratio = ours.median / peer.median
    return Row(
        what=what,
        figure=str(ours),
        beside=f"{name} {peer}",
        ratio=f"{ratio:.2f}×",
        goal="< 1×",
        is_met=ratio < 1,
    )


def warm_rows(lock: Lock, *, rounds: int) -> Sequence[Row]:
    """The same lock again; and built anew from what the node's cache has."""
    with _folder() as cache:
        build(cache, lock)
        second = Series([measure.ms(lambda: build(cache, lock)) for _ in range(rounds * 10)])
        others = similar(lock, rounds)
        anew = Series([_seconds(lambda each=each: build(cache, each)) for each in others], "s")
    return [
        Row(
            what="second build of the same lock",
            figure=str(second),
            goal=f"≤ {SECOND_GOAL_MS:g} ms",
            is_met=second.median <= SECOND_GOAL_MS,
        ),
        Row(what="build of a lock whose packages the node has", figure=str(anew)),
    ]


def disk_rows(lock: Lock, *, count: int) -> Sequence[Row]:
    """What the folder of environments takes: uv's cache holds links to the same files."""
    with _folder() as cache:
        variants = similar(lock, count)
        build(cache, variants[0])
        one = disk_bytes(cache / "environments")
        for each in variants[1:]:
            build(cache, each)
        all_of_them = disk_bytes(cache / "environments")
        whole = disk_bytes(cache)
    ratio = all_of_them / one
    return [
        Row(
            what=f"disk of {count} similar environments",
            figure=f"{all_of_them / 1e6:.0f} MB (with uv's cache {whole / 1e6:.0f} MB)",
            beside=f"one {one / 1e6:.0f} MB",
            ratio=f"{ratio:.2f}×",
            goal=f"≤ {DISK_GOAL:g}×",
            is_met=ratio <= DISK_GOAL,
        )
    ]


def disk_bytes(folder: Path) -> int:
    """What it takes on disk, folders too, each file once."""
    found: dict[int, int] = {}
    for path, folders, files in os.walk(folder):
        for name in (*folders, *files):
            seen = os.lstat(os.path.join(path, name))
            found[seen.st_ino] = seen.st_blocks * 512
    return sum(found.values())


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _call(*command: str, variables: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:6])} … ended with {done.returncode}:\n{done.stderr[-3000:]}")


@contextlib.contextmanager
def _folder() -> Generator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="um-bench-"))
    try:
        yield folder
    finally:
        delete(folder)


def measured(is_quick: bool) -> str:
    lock = the_lock()
    rounds = 1 if is_quick else 5
    parts: Mapping[str, Callable[[], Sequence[Row]]] = {
        "cold": lambda: cold_rows(lock, rounds=rounds),
        "warm": lambda: warm_rows(lock, rounds=rounds),
        "disk": lambda: disk_rows(lock, count=SIMILAR),
    }
    rows: list[Row] = []
    for name, part in parts.items():
        print(f"{name}: {_seconds(lambda part=part: rows.extend(part())):.0f} s", file=sys.stderr, flush=True)
    return measure.table(rows)


if __name__ == "__main__":
    kept.main("environments", measured, about=__doc__)
