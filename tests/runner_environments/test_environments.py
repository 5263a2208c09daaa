"""An environment is built once, is whole or not there, and says why when it cannot be."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from tests.runner_environments.building import HERE, SOURCES, UV, build, building, lock_of, until
from tests.runner_environments.index import Index, make_wheel, serving

from ultramarine_runner import builds
from ultramarine_runner.environments import EnvironmentFailed, Recipe, ensure, find_pythons

BUILDER = """
import json, sys
from pathlib import Path
from ultramarine_runner.environments import Recipe, ensure
cache, lock, python, url, uv = sys.argv[1:]
recipe = Recipe(digest="d1", lock=Path(lock).read_bytes(), python=python)
print(ensure(Path(cache), recipe, options={"index_url": url}, uv=uv, progress=lambda words: print(words, flush=True)))
"""


def builder(cache: Path, lock: bytes, index: Index) -> "tuple[subprocess.Popen[bytes], Path]":
    """A process of its own that builds, and the file of its words."""
    file, said = cache.parent / "lock.txt", cache.parent / f"said-{time.monotonic_ns()}"
    file.write_bytes(lock)
    with open(said, "wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", BUILDER, str(cache), str(file), HERE, index.url, UV],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
        )
    return process, said


def processes_of_builds(cache: Path) -> list[int]:
    mark = f"{builds.MARK}={cache}".encode()
    found: list[int] = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and mark in Path(f"/proc/{name}/environ").read_bytes():
                found.append(int(name))
        except OSError:
            continue
    return found


def test_it_holds_the_packages_byte_compiled_read_only_and_says_what_it_is(index: Index, tmp_path: Path):
    said: list[str] = []
    home = build(tmp_path / "cache", lock_of(index, "alpha", "beta"), index, progress=said.append)
    assert (
        subprocess.run([home / "bin" / "alpha-says"], capture_output=True, text=True, check=True).stdout
        == "alpha 1.0\n"
    )
    about = json.loads((home / "ultramarine.json").read_text())
    assert (about["digest"], about["python"], about["packages"]) == ("d1", HERE, 2)
    site = home / "lib" / f"python{HERE}" / "site-packages"
    assert list(site.glob("alpha/__pycache__/__init__.*.pyc"))
    writable = [path for path in [home, *home.rglob("*")] if not path.is_symlink() and path.stat().st_mode & 0o222]
    assert writable == []
    assert building(tmp_path / "cache") == []
    assert said


def test_one_that_is_there_costs_less_than_a_millisecond_and_asks_nobody(index: Index, tmp_path: Path):
    lock = lock_of(index, "alpha")
    home = build(tmp_path / "cache", lock, index)
    asked = len(index.asked)
    recipe = Recipe(digest="d1", lock=b"", python=HERE)
    began = time.perf_counter()
    for _ in range(200):
        assert ensure(tmp_path / "cache", recipe, options={}, uv="/none", progress=pytest.fail) == home
    assert (time.perf_counter() - began) / 200 < 0.001
    assert len(index.asked) == asked


def test_an_environment_without_packages_is_a_python_with_nothing_in_it(index: Index, tmp_path: Path):
    home = build(tmp_path / "cache", b"", index)
    ask = "import sys, importlib.metadata as m; print(sys.prefix != sys.base_prefix, len(list(m.distributions())))"
    assert subprocess.run(
        [home / "bin" / "python", "-c", ask], capture_output=True, text=True, check=True
    ).stdout.split() == ["True", "0"]
    assert index.asked == []


@pytest.mark.parametrize("python", sorted(find_pythons()))
def test_every_python_that_is_found_makes_an_environment(index: Index, tmp_path: Path, python: str):
    home = ensure(
        tmp_path / "cache",
        Recipe(digest="d1", lock=lock_of(index, "alpha"), python=python),
        options={"index_url": index.url},
        uv=UV,
        progress=lambda _: None,
    )
    ask = "import sys, alpha; print('%d.%d' % sys.version_info[:2], alpha.VERSION)"
    assert subprocess.run(
        [home / "bin" / "python", "-c", ask], capture_output=True, text=True, check=True
    ).stdout.split() == [python, "1.0"]


def test_the_python_that_runs_us_is_always_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    found = find_pythons()
    assert HERE in found
    assert os.access(found[HERE], os.X_OK)


def test_a_program_that_only_looks_like_a_python_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fake = tmp_path / "python3.99"
    fake.write_text("#!/bin/sh\necho 'cpython|3.99|/|'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "3.99" not in find_pythons()


def test_similar_environments_share_their_files_on_disk(index: Index, tmp_path: Path):
    one = build(tmp_path / "cache", lock_of(index, "alpha"), index, digest="one")
    two = build(tmp_path / "cache", lock_of(index, "alpha", "beta"), index, digest="two")
    inodes = {next(home.glob("lib/python3*/site-packages/alpha/__init__.py")).stat().st_ino for home in (one, two)}
    assert len(inodes) == 1
    assert sum(path.endswith("alpha-1.0-py3-none-any.whl") for path in index.asked) == 1


def test_two_builders_at_once_share_one_build(index: Index, tmp_path: Path):
    lock = lock_of(index, "alpha")
    index.open.clear()
    first, _ = builder(tmp_path / "cache", lock, index)
    until(lambda: index.asked)
    second, said = builder(tmp_path / "cache", lock, index)
    until(lambda: b"another run on this machine is building it" in said.read_bytes())
    index.open.set()
    assert (first.wait(30), second.wait(30)) == (0, 0)
    assert sum(path.endswith(".whl") for path in index.asked) == 1
    assert said.read_text().splitlines()[-1] == str(tmp_path / "cache" / "environments" / "d1")


def test_after_a_builder_was_killed_the_next_one_ends_its_uv_clears_up_and_builds(index: Index, tmp_path: Path):
    lock = lock_of(index, "alpha")
    index.open.clear()
    killed, _ = builder(tmp_path / "cache", lock, index)
    until(lambda: index.asked)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    orphans = processes_of_builds(tmp_path / "cache")
    assert orphans
    assert building(tmp_path / "cache")
    assert not (tmp_path / "cache" / "environments" / "d1").exists()
    with serving(index.folder) as second:
        home = build(tmp_path / "cache", lock, second)
    assert (home / "ultramarine.json").exists()
    assert processes_of_builds(tmp_path / "cache") == []
    assert building(tmp_path / "cache") == []


def test_what_progress_raises_cancels_the_build_which_leaves_nothing(index: Index, tmp_path: Path):
    class Cancelled(Exception):
        pass

    def cancel(_: str) -> None:
        if index.asked:
            raise Cancelled

    index.open.clear()
    with pytest.raises(Cancelled):
        build(tmp_path / "cache", lock_of(index, "alpha"), index, progress=cancel)
    assert processes_of_builds(tmp_path / "cache") == []
    assert building(tmp_path / "cache") == []


def test_a_build_that_hangs_ends_at_its_time_limit_with_words(index: Index, tmp_path: Path):
    index.open.clear()
    with pytest.raises(
        EnvironmentFailed, match=r"time limit .* It was at: environment: (making it|fetching, 0 of 1 packages)"
    ):
        build(tmp_path / "cache", lock_of(index, "alpha"), index, timeout_s=1.0)
    assert processes_of_builds(tmp_path / "cache") == []
    assert building(tmp_path / "cache") == []


def test_other_bytes_than_were_locked_are_refused_by_name(index: Index, tmp_path: Path):
    lock = lock_of(index, "alpha", "beta")
    make_wheel(index.folder, "beta", filler=1)
    with pytest.raises(EnvironmentFailed, match=r"beta==1\.0 .* not the file that was locked"):
        build(tmp_path / "cache", lock, index)
    assert not (tmp_path / "cache" / "environments" / "d1").exists()


def test_an_index_that_is_down_is_named_and_its_secret_is_not_told(index: Index, tmp_path: Path):
    with pytest.raises(
        EnvironmentFailed, match=r"does not get an answer from the package index: .*127\.0\.0\.1"
    ) as failed:
        build(tmp_path / "cache", lock_of(index, "alpha"), index, index_url="http://someone:secret@127.0.0.1:1/simple")
    assert "secret" not in failed.value.words


def test_a_withdrawn_package_is_named(index: Index, tmp_path: Path):
    lock = lock_of(index, "alpha", "beta")
    next(index.folder.glob("beta-*")).unlink()
    with pytest.raises(EnvironmentFailed, match="beta"):
        build(tmp_path / "cache", lock, index)


def test_without_an_index_the_site_s_folder_of_wheels_will_do(index: Index, tmp_path: Path):
    home = build(
        tmp_path / "cache",
        lock_of(index, "alpha"),
        index,
        index_url=None,
        no_index=True,
        find_links=[str(index.folder)],
    )
    assert (home / "ultramarine.json").exists()
    assert index.asked == []


def test_one_whose_python_was_taken_away_is_built_again(index: Index, tmp_path: Path):
    home = build(tmp_path / "cache", b"", index)
    os.chmod(home / "bin", 0o700)
    (home / "bin" / "python").unlink()
    (home / "bin" / "python").symlink_to("/nowhere/python")
    assert os.path.exists(build(tmp_path / "cache", b"", index) / "bin" / "python")


@pytest.mark.parametrize("digest", ["../out", "a/b", "", ".", "..", ".building-x-1", "a\nb", "x" * 121])
def test_a_digest_that_would_leave_the_folder_is_refused(index: Index, tmp_path: Path, digest: str):
    with pytest.raises(EnvironmentFailed, match="no name of an environment"):
        build(tmp_path / "cache", b"", index, digest=digest)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "line",
    [
        "-r /etc/passwd",
        "--index-url http://x",
        "alpha",
        "alpha>=1",
        "alpha @ file:///x.whl",
        "./alpha",
        "https://x/alpha.whl",
        "alpha==1.0 --config-settings x",
        "-e .",
    ],
)
def test_a_lock_that_holds_more_than_pinned_names_is_refused_with_the_line(index: Index, tmp_path: Path, line: str):
    with pytest.raises(EnvironmentFailed, match="Line 1 of the lock"):
        build(tmp_path / "cache", line.encode(), index)


def test_a_lock_without_hashes_is_refused(index: Index, tmp_path: Path):
    make_wheel(index.folder, "alpha")
    with pytest.raises(EnvironmentFailed, match="hash"):
        build(tmp_path / "cache", b"alpha==1.0\n", index)


def test_a_python_that_is_not_there_is_refused_with_those_that_are(index: Index, tmp_path: Path):
    recipe = Recipe(digest="d1", lock=b"", python="3.99")
    with pytest.raises(EnvironmentFailed, match=rf"Python 3\.99 is not on this machine; there is: .*{HERE}"):
        ensure(tmp_path / "cache", recipe, options={}, uv=UV, progress=lambda _: None)


def test_a_uv_that_is_not_there_is_named(index: Index, tmp_path: Path):
    with pytest.raises(EnvironmentFailed, match=r"uv \(/nowhere/uv\) cannot be started"):
        ensure(
            tmp_path / "cache",
            Recipe(digest="d1", lock=b"", python=HERE),
            options={},
            uv="/nowhere/uv",
            progress=lambda _: None,
        )


def test_a_cache_that_cannot_be_written_is_named(index: Index, tmp_path: Path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(EnvironmentFailed, match="cannot be written below"):
        build(tmp_path / "cache", b"", index)


def test_a_disk_that_is_full_is_told_and_nothing_is_left_on_it(index: Index, tmp_path: Path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "small", small], check=True)
    try:
        with pytest.raises(EnvironmentFailed, match=r"The disk is full: .* give the runner's cache another disk"):
            build(small / "cache", lock_of(index, "large", filler=8_000_000), index)
        assert building(small / "cache") == []
        assert not (small / "cache" / "environments" / "d1").exists()
    finally:
        subprocess.run(["umount", small], check=True)


def test_byte_code_is_compiled_once_for_each_file_that_environments_share(index: Index, tmp_path: Path):
    cache = tmp_path / "cache"
    one = build(cache, lock_of(index, "alpha"), index, digest="one")
    two = build(cache, lock_of(index, "alpha", "beta"), index, digest="two")
    compiled = [next(home.glob("lib/python3*/site-packages/alpha/__pycache__/__init__.*.pyc")) for home in (one, two)]
    assert compiled[0].stat().st_ino == compiled[1].stat().st_ino
    assert list(two.glob("lib/python3*/site-packages/beta/__pycache__/__init__.*.pyc"))
    shows = "import alpha; print(alpha.main.__code__.co_filename, alpha.__cached__)"
    for home, pyc in zip((one, two), compiled, strict=True):
        said = subprocess.run([home / "bin" / "python", "-vc", shows], capture_output=True, text=True, check=True)
        assert said.stdout.split() == [str(pyc.parent.with_name("__init__.py")), str(pyc)]
        assert f"matches {pyc.parent.with_name('__init__.py')}" in said.stderr, "it is taken as it is"


def test_byte_code_that_a_package_brings_along_is_given_to_no_other(index: Index, tmp_path: Path):
    """Its source may be that of another package, and its byte code not be made from it."""
    make_wheel(index.folder, "alpha")
    wheel = index.folder / "alpha-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "a") as more:
        tag = f"cpython-{HERE.replace('.', '')}"
        more.writestr(f"alpha/__pycache__/__init__.{tag}.pyc", b"not made from it")
    lock = f"alpha==1.0 \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
    build(tmp_path / "cache", lock.encode(), index, digest="one")
    kept = [path for path in (tmp_path / "cache" / "bytecode").rglob("*") if path.is_file()]
    assert not any(path.read_bytes().startswith(b"not made") for path in kept)


def test_a_build_that_is_on_its_makers_index_alone_is_named_with_what_to_type(index: Index, tmp_path: Path):
    make_wheel(index.folder, "torch", "2.0")
    make_wheel(index.folder, "beta")
    cpu = f"torch==2.0+cpu \\\n    --hash=sha256:{'0' * 64}\n"
    for no_index in (False, True):
        with pytest.raises(EnvironmentFailed) as failed:
            build(tmp_path / "cache", cpu.encode(), index, no_index=no_index)
        assert "No package index of this site has torch==2.0+cpu" in failed.value.words
        assert "extra-index-url = https://download.pytorch.org/whl/cpu" in failed.value.words
        assert "find-links" in failed.value.words
        assert "Because" not in failed.value.words
    other = cpu.replace("torch==2.0+cpu", "beta==1.0+ours.1").encode()
    with pytest.raises(EnvironmentFailed, match=r"beta==1\.0\+ours\.1: builds .* its makers' own index"):
        build(tmp_path / "cache", other, index)


def test_what_was_locked_is_taken_though_the_site_has_another_build_of_it(index: Index, tmp_path: Path):
    lock = lock_of(index, "alpha", "beta").replace(b"beta==1.0", b"beta==1.0 ; python_version >= '3'")
    make_wheel(tmp_path / "links", "alpha", "1.0+cpu")
    home = build(tmp_path / "cache", lock, index, find_links=[str(tmp_path / "links")])
    assert sorted(file.name for file in home.rglob("*.dist-info")) == ["alpha-1.0.dist-info", "beta-1.0.dist-info"]
    marked = make_wheel(tmp_path / "links", "alpha", "1.0+cpu")
    cpu = f"alpha==1.0+cpu \\\n    --hash=sha256:{marked}\n".encode()
    home = build(tmp_path / "cache", cpu, index, digest="d2", find_links=[str(tmp_path / "links")])
    assert [file.name for file in home.rglob("*.dist-info")] == ["alpha-1.0+cpu.dist-info"]
