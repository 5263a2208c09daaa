"""Environments that nobody uses are deleted by age and by size: never one in use, and never by half."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.runner_environments.building import HERE, SOURCES, UV, build, building, lock_of, until
from tests.runner_environments.index import Index

from ultramarine_runner import builds, unused
from ultramarine_runner.environments import EnvironmentFailed, Recipe, use
from ultramarine_runner.unused import DAY_S, EVERY_S, RECENT_S, Collector, Kept, Rules, collect, to_delete

NOW = 1_000 * DAY_S


def kept(digest: str, *, idle_s: float, size: int = 10, is_used: bool = False) -> Kept:
    return Kept(digest=digest, used_at=NOW - idle_s, bytes=size, is_used=is_used)


def chosen(*found: Kept, rules: Rules, free_bytes: int = 1 << 40) -> list[str]:
    return [one.digest for one in to_delete(found, rules, now=NOW, free_bytes=free_bytes)]


def test_what_was_not_used_for_too_many_days_goes():
    assert chosen(kept("a", idle_s=3 * DAY_S), kept("b", idle_s=DAY_S), rules=Rules(days_max=2)) == ["a"]


def test_while_all_take_too_much_the_one_used_least_recently_goes():
    three = [kept(name, idle_s=idle * DAY_S) for name, idle in (("a", 1), ("b", 3), ("c", 2))]
    assert chosen(*three, rules=Rules(bytes_max=30)) == []
    assert chosen(*three, rules=Rules(bytes_max=20)) == ["b"]
    assert chosen(*three, rules=Rules(bytes_max=19)) == ["b", "c"]


def test_what_is_used_stays_and_what_was_used_just_now_stays_though_there_is_no_room():
    old, recent = kept("a", idle_s=99 * DAY_S, is_used=True), kept("b", idle_s=RECENT_S / 2)
    assert chosen(old, recent, rules=Rules(days_max=1, bytes_max=1)) == []
    assert chosen(old, kept("c", idle_s=DAY_S), rules=Rules(bytes_max=15)) == ["c"]


def test_a_disk_that_is_nearly_full_is_given_room():
    two = [kept("a", idle_s=DAY_S), kept("b", idle_s=2 * DAY_S)]
    assert chosen(*two, rules=Rules(free_bytes_min=100), free_bytes=95) == ["b"]
    assert chosen(*two, rules=Rules(free_bytes_min=100), free_bytes=100) == []


def age(cache: Path, *digests: str, days: float = 40) -> None:
    """As if they had been used last so many days ago."""
    for digest in digests:
        at = time.time() - days * DAY_S
        os.utime(cache / "environments" / f"{digest}.used", (at, at))


def used(cache: Path, index: Index, digest: str, *names: str, more: bytes = b"") -> Path:
    """Built, used and let go. `more`: lines of the lock."""
    recipe = Recipe(digest=digest, lock=lock_of(index, *names) + more, python=HERE)
    now = use(cache, recipe, options={"index_url": index.url}, uv=UV, progress=lambda _: None)
    now.over()
    return now.home


def collected(cache: Path, rules: Rules = Rules()) -> list[str]:
    return collect(cache / "environments", rules, now=time.time())


def disk_bytes(folder: Path) -> int:
    """What it takes, each file once."""
    found = {seen.st_ino: seen.st_blocks * 512 for path in folder.rglob("*") if (seen := path.lstat()).st_size}
    return sum(found.values())


def test_one_that_was_not_used_for_long_goes_from_the_disk_and_what_others_have_stays(index: Index, tmp_path: Path):
    gone = used(tmp_path, index, "gone", "alpha", more=lock_of(index, "large", filler=3_000_000))
    stays = used(tmp_path, index, "stays", "alpha")
    before = disk_bytes(tmp_path)
    age(tmp_path, "gone")
    collector = Collector(tmp_path, Rules(), uv=lambda: UV)
    assert collector.look(now=time.time()) == []
    assert collector.look(now=time.time() + EVERY_S) == ["gone"]
    assert (gone.exists(), (stays / "ultramarine.json").exists()) == (False, True)
    assert before - disk_bytes(tmp_path) > 3_000_000
    asked = len(index.asked)
    assert (used(tmp_path, index, "third", "alpha") / "ultramarine.json").exists()
    assert not any(path.endswith(".whl") for path in index.asked[asked:]), "what it needs is still in uv's cache"


def test_a_file_that_several_have_counts_once(index: Index, tmp_path: Path):
    for number in range(3):
        used(tmp_path, index, f"e{number}", "alpha")
    one, three = (
        sum(unused.seen(home.parent).bytes for home in (tmp_path / "environments").glob(pattern))
        for pattern in ("e0/ultramarine.json", "e*/ultramarine.json")
    )
    assert one * 3 == pytest.approx(three, rel=0.1)
    lone = tmp_path / "lone"
    used(lone, index, "e0", "alpha")
    assert unused.seen(lone / "environments" / "e0").bytes > one


def test_one_in_use_stays_and_its_time_counts_from_the_end_of_that(index: Index, tmp_path: Path):
    recipe = Recipe(digest="d1", lock=b"", python=HERE)
    first, second = (use(tmp_path, recipe, options={}, uv=UV, progress=lambda _: None) for _ in range(2))
    for each in (first, second):
        age(tmp_path, "d1")
        assert collected(tmp_path) == []
        each.over()
    assert collected(tmp_path) == []
    age(tmp_path, "d1")
    assert collected(tmp_path) == ["d1"]
    assert not first.home.exists()


def test_one_that_was_never_used_counts_from_its_build(index: Index, tmp_path: Path):
    home = build(tmp_path, b"", index)
    assert collected(tmp_path) == []
    assert collect(home.parent, Rules(), now=time.time() + 40 * DAY_S) == ["d1"]


def test_a_build_that_fails_is_no_use(index: Index, tmp_path: Path):
    broken = Recipe(digest="d1", lock=b"alpha", python=HERE)
    with pytest.raises(EnvironmentFailed):
        use(tmp_path, broken, options={}, uv=UV, progress=lambda _: None)
    build(tmp_path, b"", index)
    age(tmp_path, "d1")
    assert collected(tmp_path) == ["d1"]


USER = """
import sys, time
from pathlib import Path
from ultramarine_runner.environments import Recipe, use
cache, python, uv = sys.argv[1:]
use(Path(cache), Recipe(digest="d1", lock=b"", python=python), options={}, uv=uv, progress=lambda words: None)
print("used", flush=True)
time.sleep(600)
"""


def test_one_whose_user_was_killed_is_used_no_more(index: Index, tmp_path: Path):
    user = started(USER, str(tmp_path), HERE, UV)
    assert user.stdout is not None
    assert user.stdout.readline() == b"used\n"
    age(tmp_path, "d1")
    assert collected(tmp_path) == []
    user.kill()
    user.communicate()
    assert collected(tmp_path) == ["d1"]


COLLECTOR = """
import os, shutil, signal, sys
from pathlib import Path
from ultramarine_runner import unused
cache, when = sys.argv[1:]
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
if when == "before":
    os.rename = die
elif when == "renamed":
    unused.delete = die
else:
    os.rmdir = die  # some files are deleted, and no folder yet
unused.collect(Path(cache) / "environments", unused.Rules(), now=__import__("time").time())
"""


def started(script: str, *arguments: str) -> "subprocess.Popen[bytes]":
    environ = {**os.environ, "PYTHONPATH": str(SOURCES)}
    return subprocess.Popen([sys.executable, "-c", script, *arguments], env=environ, stdout=subprocess.PIPE)


@pytest.mark.parametrize("when", ["before", "renamed", "amid"])
def test_a_collector_that_is_killed_leaves_it_whole_or_gone_and_the_next_one_clears_up(
    index: Index, tmp_path: Path, when: str
):
    home = used(tmp_path, index, "d1", "alpha")
    files = len(list(home.rglob("*")))
    age(tmp_path, "d1")
    killed = started(COLLECTOR, str(tmp_path), when)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    if when == "before":
        assert len(list(home.rglob("*"))) == files
    else:
        assert not home.exists()
        assert list(home.parent.glob(".deleting-*"))
    assert used(tmp_path, index, "d1", "alpha") == home
    assert subprocess.run([home / "bin" / "alpha-says"], capture_output=True, check=True).stdout == b"alpha 1.0\n"
    assert collected(tmp_path) == []
    assert list(home.parent.glob(".deleting-*")) == []


def test_runs_that_start_while_it_is_deleted_find_it_whole_or_build_it(index: Index, tmp_path: Path):
    """Three begin to use it again and again, while a collector takes each moment when nobody does.

    Every other time they leave it one, all together.
    """
    recipe = Recipe(digest="d1", lock=lock_of(index, "alpha"), python=HERE)
    wrong: list[str] = []
    stop, together, looks = threading.Event(), threading.Barrier(3), [0]

    def uses() -> None:
        for turn in range(4):
            now = use(tmp_path, recipe, options={"index_url": index.url}, uv=UV, progress=lambda _: None)
            done = subprocess.run([now.home / "bin" / "alpha-says"], capture_output=True, check=False)
            if done.stdout != b"alpha 1.0\n":
                wrong.append(f"{done.stdout!r} {done.stderr!r}")
            now.over()
            if turn % 2:
                together.wait(60)
                before = looks[0]
                until(lambda before=before: looks[0] > before + 1)

    gone: list[str] = []

    def collects() -> None:
        while not stop.is_set():
            gone.extend(collect(tmp_path / "environments", Rules(), now=time.time() + 40 * DAY_S))
            looks[0] += 1

    build(tmp_path, recipe.lock, index)
    collecting, using = threading.Thread(target=collects), [threading.Thread(target=uses) for _ in range(3)]
    for thread in (collecting, *using):
        thread.start()
    for thread in using:
        thread.join()
    stop.set()
    collecting.join()
    assert wrong == []
    assert gone, "it was deleted at least once"


def test_one_that_is_being_built_again_is_not_deleted(index: Index, tmp_path: Path):
    home = build(tmp_path, b"", index)
    with lock_of_builders(home):
        assert collect(home.parent, Rules(), now=time.time() + 40 * DAY_S) == []
    assert (home / "ultramarine.json").exists()


@contextmanager
def lock_of_builders(home: Path) -> Generator[None]:
    with builds.lock_of(home).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_what_a_killed_builder_has_left_goes_though_nobody_builds_it_again(index: Index, tmp_path: Path):
    build(tmp_path, b"", index)
    left = tmp_path / "environments" / ".building-d1-4194305"
    (left / "bin").mkdir(parents=True)
    left.with_name(f"{left.name}.log").write_text("half a word")
    collected(tmp_path)
    assert building(tmp_path) == []


def test_two_collectors_do_not_look_at_once_nor_one_after_the_other(index: Index, tmp_path: Path):
    home = build(tmp_path, b"", index)
    one, other = (Collector(tmp_path, Rules(), uv=lambda: UV) for _ in range(2))
    later = time.time() + 40 * DAY_S
    one.look(now=time.time())
    with (home.parent / ".collecting").open("a") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        assert other.look(now=later) == []
    assert one.look(now=later) == ["d1"]
    build(tmp_path, b"", index)
    assert other.look(now=later + EVERY_S / 2) == []


def test_where_there_are_no_environments_there_is_nothing_to_look_at(tmp_path: Path):
    assert Collector(tmp_path / "none", Rules(), uv=lambda: None).look(now=0.0) == []
    assert list(tmp_path.iterdir()) == []
