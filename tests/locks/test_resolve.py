"""Requirements become a lock, or an error that names what is in the way."""

import asyncio
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.runner_environments.building import UV
from tests.runner_environments.index import Index, alone, make_wheel, serving

from ultramarine.domain.conda import RequirementRefused, Wanted, from_requirements
from ultramarine.domain.errors import InvalidInput
from ultramarine.locks.errors import (
    IndexUnreachable,
    LockFailed,
    LockTimedOut,
    NoWheel,
    UnknownPackage,
    Unsolvable,
    Withdrawn,
    failure,
)
from ultramarine.locks.lock import Lock, Uv, read_lock, resolve
from ultramarine.locks.site import SiteOptions


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with alone(tmp_path / "wheels", monkeypatch) as index:
        make_wheel(index.folder, "alpha", needs=("beta<2",))
        make_wheel(index.folder, "beta", "1.5")
        make_wheel(index.folder, "beta", "2.0")
        make_wheel(index.folder, "gamma", needs=("beta>=2",))
        yield index


def lock(tmp_path: Path, *lines: str, options: SiteOptions, uv: str = UV, timeout_s: float = 30) -> Lock:
    wanted = from_requirements(lines)
    how = Uv(program=uv, cache=tmp_path / "uv", options=options)
    return asyncio.run(resolve(wanted, python="3.11", platform="linux-x86_64", uv=how, timeout_s=timeout_s))


def test_a_lock_holds_exact_versions_with_hashes_and_no_urls(index: Index, tmp_path: Path):
    made = lock(tmp_path, "alpha", options=SiteOptions(index_url=index.url))
    assert made.packages == (("alpha", "1.0"), ("beta", "1.5"))
    assert made.text.count("--hash=sha256:") == 2
    assert "://" not in made.text
    assert "127.0.0.1" not in made.text


def test_the_same_requirements_make_the_same_digest_and_each_part_counts(index: Index, tmp_path: Path):
    one, two = (lock(tmp_path / place, "alpha", options=SiteOptions(index_url=index.url)) for place in ("a", "b"))
    assert (
        one.digest
        == two.digest
        == read_lock(f"# made on Monday\n\n{one.text}\n", python="3.11", platform="linux-x86_64").digest
    )
    others = [
        replace(one, python="3.12"),
        replace(one, platform="linux-aarch64"),
        replace(one, accelerator="cuda12"),
        replace(one, text=one.text + "x==1\n"),
    ]
    assert len({one.digest, *(other.digest for other in others)}) == 5


def test_nothing_wanted_is_an_empty_lock_for_which_uv_is_not_asked(tmp_path: Path):
    made = lock(tmp_path, options=SiteOptions(), uv="/nowhere/uv")
    assert (made.text, made.packages) == ("", ())


@pytest.mark.parametrize("file", ["", f" --hash=sha256:{'0' * 64}"])
def test_what_is_for_other_pythons_alone_is_an_empty_lock_too(index: Index, tmp_path: Path, file: str):
    made = lock(tmp_path, f"alpha==1.0; python_version < '3'{file}", options=SiteOptions(index_url=index.url))
    assert (made.text, made.packages) == ("", ())


def test_a_conflict_names_the_requirements_that_contradict_each_other(index: Index, tmp_path: Path):
    with pytest.raises(Unsolvable) as refused:
        lock(tmp_path, "alpha", "gamma", options=SiteOptions(index_url=index.url))
    assert all(word in str(refused.value) for word in ("alpha", "beta<2", "gamma", "beta>=2"))
    assert "Loosen" in refused.value.hint


def test_a_package_that_no_index_has_is_named(index: Index, tmp_path: Path):
    with pytest.raises(UnknownPackage, match="No package index of this site has numpyy"):
        lock(tmp_path, "numpyy", options=SiteOptions(index_url=index.url))


def test_a_version_that_does_not_exist_is_named(index: Index, tmp_path: Path):
    with pytest.raises(Unsolvable, match=r"no version of beta==99"):
        lock(tmp_path, "beta==99", options=SiteOptions(index_url=index.url))


def test_a_package_without_a_wheel_that_fits_is_named(index: Index, tmp_path: Path):
    make_wheel(index.folder, "delta")
    (index.folder / "delta-1.0-py3-none-any.whl").rename(index.folder / "delta-1.0-py3-none-win_amd64.whl")
    with pytest.raises(NoWheel, match="delta"):
        lock(tmp_path, "delta", options=SiteOptions(index_url=index.url))


def test_an_index_that_is_down_is_named_without_its_secret(index: Index, tmp_path: Path):
    with pytest.raises(IndexUnreachable, match=r"127\.0\.0\.1:1 does not answer") as refused:
        lock(tmp_path, "alpha", options=SiteOptions(index_url="http://someone:secret@127.0.0.1:1/simple"))
    assert "secret" not in str(refused.value) + refused.value.hint


@pytest.mark.parametrize("status", [500, 503])
def test_an_index_that_fails_is_named(index: Index, tmp_path: Path, status: int):
    index.refusing["alpha"] = status
    with pytest.raises(IndexUnreachable, match=rf"127\.0\.0\.1:\d+ does not answer: .*error \({status} "):
        lock(tmp_path, "alpha", options=SiteOptions(index_url=index.url))


@pytest.mark.parametrize("status", [401, 403])
def test_an_index_that_wants_a_password_may_be_why_it_has_nothing(index: Index, tmp_path: Path, status: int):
    index.refusing["alpha"] = status
    with pytest.raises(UnknownPackage, match="has alpha") as refused:
        lock(tmp_path, "alpha", options=SiteOptions(index_url=index.url))
    assert "with user and password" in refused.value.hint


def test_a_withdrawn_release_is_passed_over(index: Index, tmp_path: Path):
    index.withdrawn["beta-2.0-py3-none-any.whl"] = "a bad build"
    made = lock(tmp_path, "beta", options=SiteOptions(index_url=index.url))
    assert (made.packages, made.warnings) == ((("beta", "1.5"),), ())


def test_where_only_a_withdrawn_release_would_do_it_is_named_with_the_reason(index: Index, tmp_path: Path):
    index.withdrawn["beta-2.0-py3-none-any.whl"] = "a bad build"
    with pytest.raises(Withdrawn, match=r"withdrawn .* beta==2\.0 was yanked \(reason: a bad build\)") as refused:
        lock(tmp_path, "gamma", options=SiteOptions(index_url=index.url))
    assert "pin it" in refused.value.hint


def test_a_withdrawn_release_that_is_pinned_is_taken_with_a_warning(index: Index, tmp_path: Path):
    index.withdrawn["beta-2.0-py3-none-any.whl"] = "a bad build"
    made = lock(tmp_path, "beta==2.0", options=SiteOptions(index_url=index.url))
    assert made.packages == (("beta", "2.0"),)
    assert made.warnings == ('`beta==2.0` is yanked (reason: "a bad build").',)


def test_an_extra_that_there_is_not_is_a_warning(index: Index, tmp_path: Path):
    made = lock(tmp_path, "beta[fast]", options=SiteOptions(index_url=index.url))
    assert made.warnings == ("The package `beta==2.0` does not have an extra named `fast`.",)


def test_where_hashes_are_wanted_only_those_files_are_locked(index: Index, tmp_path: Path):
    right = make_wheel(index.folder, "beta", "1.5")
    lines = ("alpha", f"Beta==1.5 --hash=sha256:{right} \\", f"  --hash=sha256:{'0' * 64}")
    made = lock(tmp_path, *lines, options=SiteOptions(index_url=index.url))
    assert made == replace(lock(tmp_path, "alpha", options=SiteOptions(index_url=index.url)), warnings=())


def test_a_wanted_hash_that_no_file_bears_is_refused(index: Index, tmp_path: Path):
    with pytest.raises(Unsolvable, match=r"No file .* of beta==1\.5 bears a hash that is wanted of it") as refused:
        lock(tmp_path, f"beta==1.5 --hash=sha256:{'0' * 64}", options=SiteOptions(index_url=index.url))
    assert "without --hash" in refused.value.hint


def test_a_file_that_is_no_wheel_is_named(index: Index, tmp_path: Path):
    (index.folder / "zeta-1.0-py3-none-any.whl").write_bytes(b"a page to sign in")
    with pytest.raises(NoWheel, match=r"no wheel that can be read\. .*zeta") as refused:
        lock(tmp_path, "zeta", options=SiteOptions(index_url=index.url))
    assert "owner of the index" in refused.value.hint


def test_of_a_long_explanation_the_requirements_come_first():
    chain = " ".join(f"And because a=={n} depends on b>{n} and we know from ({n}) it fails, so." for n in range(60))
    error = failure(
        f"error: No solution found when resolving dependencies\n  cause: Because you require a[x] and b<2, we can "
        f"conclude a lot. {chain} And because you require a[x], we can conclude that it cannot be met."
    )
    assert isinstance(error, Unsolvable)
    assert str(error).startswith("What does not go together: a[x], b<2. … And because")
    assert len(str(error)) < 1400


def test_resolving_that_hangs_ends_at_its_deadline_and_so_does_uv(index: Index, tmp_path: Path):
    index.open.clear()
    began = time.monotonic()
    with pytest.raises(LockTimedOut, match=r"within 1 s"):
        lock(tmp_path, "alpha", options=SiteOptions(index_url=index.url), timeout_s=1)
    assert time.monotonic() - began < 10
    assert not _runs_with(str(tmp_path / "uv"))


def test_a_caller_that_goes_away_takes_uv_along(index: Index, tmp_path: Path):
    index.open.clear()

    async def go() -> None:
        how = Uv(program=UV, cache=tmp_path / "uv", options=SiteOptions(index_url=index.url))
        asked = resolve(from_requirements(["alpha"]), python="3.11", platform="linux-x86_64", uv=how, timeout_s=60)
        task = asyncio.create_task(asked)
        while not index.asked:  # noqa: ASYNC110  (another thread's list; the whole has a limit)
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(go(), 30))
    assert not _runs_with(str(tmp_path / "uv"))


def _runs_with(word: str) -> bool:
    commands = (Path("/proc", pid, "cmdline") for pid in os.listdir("/proc") if pid.isdigit())
    for command in commands:
        try:
            if word.encode() in command.read_bytes():
                return True
        except OSError:
            continue
    return False


def test_a_wheel_in_a_find_links_folder_is_taken_with_its_hash(tmp_path: Path, index: Index):
    digest = make_wheel(tmp_path / "links", "epsilon", "2.13.0+cpu")
    options = SiteOptions(index_url=index.url, find_links=(str(tmp_path / "links"),))
    made = lock(tmp_path, "epsilon==2.13.0", options=options)
    assert made.packages == (("epsilon", "2.13.0+cpu"),)
    assert digest in made.text
    assert str(tmp_path) not in made.text


def test_a_site_s_constraints_count(tmp_path: Path, index: Index):
    limits = tmp_path / "limits.txt"
    limits.write_text("beta<2\n")
    assert lock(tmp_path, "beta", options=SiteOptions(index_url=index.url, constraints=(str(limits),))).packages == (
        ("beta", "1.5"),
    )


def test_of_several_indexes_the_best_version_is_taken_whichever_has_it(tmp_path: Path, index: Index):
    make_wheel(tmp_path / "more", "beta", "1.0")
    with serving(tmp_path / "more") as other:
        made = lock(tmp_path, "beta", options=SiteOptions(index_url=index.url, extra_index_urls=(other.url,)))
    assert made.packages == (("beta", "2.0"),)


@pytest.mark.parametrize("line", ["name @ file:///etc/passwd", "./x", "-r /etc/passwd", "git+https://example.org/x"])
def test_a_wanted_that_went_round_the_reader_is_refused_all_the_same(tmp_path: Path, line: str):
    wanted, how = Wanted(requirements=(line,), python=None), Uv(program=UV, cache=tmp_path, options=SiteOptions())
    with pytest.raises(RequirementRefused):
        asyncio.run(resolve(wanted, python="3.11", platform="linux-x86_64", uv=how, timeout_s=5))


def test_a_uv_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(LockFailed, match="/nowhere/uv"):
        lock(tmp_path, "alpha", options=SiteOptions(), uv="/nowhere/uv")


def test_what_uv_says_is_passed_on_when_it_fails_in_its_own_way(tmp_path: Path):
    broken = tmp_path / "uv"
    broken.write_text("#!/bin/sh\necho 'error: the moon is full' >&2\nexit 3\n")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(LockFailed, match="the moon is full"):
        lock(tmp_path, "alpha", options=SiteOptions(), uv=str(broken))


def test_an_unknown_platform_is_refused_with_the_known_ones():
    with pytest.raises(InvalidInput, match="win32") as refused:
        read_lock("", python="3.11", platform="win32")
    assert "linux-x86_64" in refused.value.hint
