"""Blobs and logs: whole or not there; never outside their folder."""

import hashlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from ultramarine.domain.errors import Conflict, DiskFull, InvalidInput, NotFound, TooLarge
from ultramarine.domain.names import RunKey
from ultramarine.files.blobs import Blobs
from ultramarine.files.logs import LogPlace, Logs, OffsetDiffers
from ultramarine.files.reserve import Reserve

RUN = RunKey("e1-j1-1")
LOG = LogPlace(run=RUN, rank="0", file="std_log.txt")
CONTENT = b"some bytes\n" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


async def pieces(content: bytes, size: int = 700, *, torn_after: int | None = None) -> AsyncIterator[bytes]:
    for begin in range(0, len(content), size):
        if torn_after is not None and begin >= torn_after:
            raise ConnectionError("The client has gone.")
        yield content[begin : begin + size]


def everything_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path, Reserve(tmp_path, 0))


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path / "logs", Reserve(tmp_path, 0))


async def test_a_blob_is_kept_once_under_the_hash_of_its_bytes(blobs: Blobs, tmp_path: Path) -> None:
    assert blobs.missing([SHA256, SHA256]) == [SHA256]
    assert await blobs.receive(SHA256, pieces(CONTENT), bytes_max=1 << 20) is True
    assert await blobs.receive(SHA256, pieces(b""), bytes_max=1 << 20) is False
    assert blobs.put(CONTENT) == await blobs.take(pieces(CONTENT), bytes_max=1 << 20) == SHA256
    assert blobs.read(SHA256) == CONTENT
    assert len(everything_in(tmp_path)) == 1


async def test_bytes_that_are_others_than_their_name_says_are_not_kept(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="have SHA-256"):
        await blobs.receive("0" * 64, pieces(CONTENT), bytes_max=1 << 20)
    assert everything_in(tmp_path) == []


async def test_a_blob_over_the_limit_is_refused_while_it_comes(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(TooLarge):
        await blobs.receive(SHA256, pieces(CONTENT), bytes_max=len(CONTENT) - 1)
    with pytest.raises(TooLarge):
        await blobs.take(pieces(CONTENT), bytes_max=10)
    assert everything_in(tmp_path) == []
    assert await blobs.receive(SHA256, pieces(CONTENT), bytes_max=len(CONTENT))


async def test_a_torn_upload_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(ConnectionError):
        await blobs.receive(SHA256, pieces(CONTENT, torn_after=5000), bytes_max=1 << 20)
    assert not blobs.has(SHA256)
    assert everything_in(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["", "..", "../../etc/passwd", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "0" * 62 + "/.", "0" * 63 + "\n"]
)
def test_what_is_no_hash_names_no_file(blobs: Blobs, name: str) -> None:
    with pytest.raises(InvalidInput):
        blobs.path(name)


def test_a_blob_that_is_not_there_is_not_found(blobs: Blobs) -> None:
    with pytest.raises(NotFound):
        blobs.read(SHA256)


def test_a_log_grows_by_offset_only(logs: Logs) -> None:
    assert logs.append(LOG, b"one\n", offset=0) == 4
    assert logs.append(LOG, b"two\n", offset=4) == 8
    for offset in (0, 4, 9):  # again, and with a gap
        with pytest.raises(OffsetDiffers) as refused:
            logs.append(LOG, b"two\n", offset=offset)
        assert refused.value.size == 8
    assert logs.read(LOG, offset=0, bytes_max=100) == b"one\ntwo\n"
    assert logs.read(LOG, offset=6, bytes_max=1) == b"o"
    assert logs.tail(logs.files(RUN)[0], bytes_max=4) == b"two\n"


def test_a_log_that_was_torn_goes_on_from_where_it_is(logs: Logs, tmp_path: Path) -> None:
    logs.append(LOG, b"one\ntw", offset=0)
    anew = Logs(tmp_path / "logs", Reserve(tmp_path, 0))
    with pytest.raises(OffsetDiffers) as refused:
        anew.append(LOG, b"three", offset=8)
    assert anew.append(LOG, b"o\n", offset=refused.value.size) == 8


def test_logs_are_listed_with_the_runners_own_first_and_ranks_in_order(logs: Logs) -> None:
    for rank in ("10", "2", "node0"):
        logs.append(replace(LOG, rank=rank), b"x", offset=0)
    assert [log.place.rank for log in logs.files(RUN)] == ["node0", "2", "10"]
    assert logs.files(RunKey("none")) == []
    assert logs.read(replace(LOG, rank="7"), offset=0, bytes_max=9) == b""


@pytest.mark.parametrize("name", ["..", "../x", "/etc", "a/b", "", "a\0b", ".hidden"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_names_that_escape_are_refused(logs: Logs, name: str, place: int, tmp_path: Path) -> None:
    names = [RUN, "0", "std_log.txt"]
    names[place] = name
    with pytest.raises(InvalidInput):
        logs.append(LogPlace(run=RunKey(names[0]), rank=names[1], file=names[2]), b"x", offset=0)
    assert everything_in(tmp_path) == []


async def test_what_the_server_keeps_free_of_its_disk_is_not_given_to_uploads_nor_logs(tmp_path: Path) -> None:
    kept = Reserve(tmp_path, shutil.disk_usage(tmp_path).free + (1 << 40))  # more than it has: it counts as full
    with pytest.raises(DiskFull, match="MiB left") as refused:
        await Blobs(tmp_path, kept).receive(SHA256, pieces(CONTENT), bytes_max=1 << 20)
    assert "try again" in refused.value.hint
    logs = Logs(tmp_path / "logs", kept)
    with pytest.raises(DiskFull):
        logs.append(LOG, b"one\n", offset=0)
    assert everything_in(tmp_path) == []
    assert Logs(tmp_path / "logs", Reserve(tmp_path, 0)).append(LOG, b"one\n", offset=0) == 4
