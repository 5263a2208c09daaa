"""What deployments have collected: by name and time, grown by offset only, never outside its folder."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ultramarine.domain.errors import InvalidInput
from ultramarine.domain.names import RunKey
from ultramarine.files.collected import Collected, CollectedOf, named
from ultramarine.files.logs import OffsetDiffers
from ultramarine.files.reserve import Reserve

RUN = RunKey("e1-d1-1")
BLUE = CollectedOf(workspace="w", endpoint="cancer", deployment="blue")


@pytest.fixture
def collected(tmp_path: Path) -> Collected:
    return Collected(tmp_path / "collected", Reserve(tmp_path, 0))


def paths(collected: Collected, collection: str = "") -> list[str]:
    return [file.path for file in collected.files(BLUE, collection=collection)]


def test_files_are_named_by_their_run_and_grow_by_offset_only(collected: Collected, tmp_path: Path) -> None:
    assert collected.append(BLUE, named("request/2026/11/28/21/7-000001.jsonl", RUN), b"1\n", offset=0) == 2
    with pytest.raises(OffsetDiffers) as refused:
        collected.append(BLUE, named("request/2026/11/28/21/7-000001.jsonl", RUN), b"1\n", offset=0)
    assert refused.value.size == 2
    assert collected.append(BLUE, named("request/2026/11/28/21/7-000001.jsonl", RUN), b"2\n", offset=2) == 4
    collected.append(BLUE, named("request/2026/11/28/20/7-000001.jsonl", RunKey("e1-d1-2")), b"0\n", offset=0)
    collected.append(BLUE, named("response/2026/1-000001.jsonl", RUN), b"3\n", offset=0)
    first = "request/2026/11/28/20/e1-d1-2-7-000001.jsonl"
    assert paths(collected) == [
        first,
        "request/2026/11/28/21/e1-d1-1-7-000001.jsonl",
        "response/2026/e1-d1-1-1-000001.jsonl",
    ]
    assert paths(collected, "response") == ["response/2026/e1-d1-1-1-000001.jsonl"]
    assert collected.read(BLUE, first, offset=1, bytes_max=9) == b"\n"
    assert collected.read(BLUE, "none/2026/x.jsonl", offset=0, bytes_max=9) == b""
    assert (tmp_path / "collected/w/cancer/blue" / first).read_bytes() == b"0\n"


@pytest.mark.parametrize(
    "path",
    [
        *(
            "../2026/1-1.jsonl",
            "request/../../1-1.jsonl",
            "/etc/2026/1-1.jsonl",
            "request/2026/.jsonl",
            "request/1-1.jsonl",
        ),
        *(
            "request/2026/11/28/21/30/59/1-1.jsonl",
            "request/2026/1-1.txt",
            "request/26/1-1.jsonl",
            "request/2026/\n.jsonl",
        ),
    ],
)
def test_what_is_no_file_of_a_collection_is_refused(collected: Collected, tmp_path: Path, path: str) -> None:
    with pytest.raises(InvalidInput):
        collected.append(BLUE, named(path, RUN), b"x", offset=0)
    with pytest.raises(InvalidInput):
        collected.read(BLUE, path, offset=0, bytes_max=1)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("name", ["..", "a/b", "", ".hidden"])
def test_names_that_escape_are_refused(collected: Collected, name: str) -> None:
    for of in (
        CollectedOf(workspace=name, endpoint="e", deployment="d"),
        CollectedOf(workspace="w", endpoint=name, deployment="d"),
        CollectedOf(workspace="w", endpoint="e", deployment=name),
    ):
        with pytest.raises(InvalidInput):
            collected.files(of)


@pytest.mark.parametrize(
    ("period", "before", "gone"),
    [
        ("2026", datetime(2026, 12, 31, 23, tzinfo=UTC), False),
        ("2026", datetime(2027, 1, 1, tzinfo=UTC), True),
        ("2026/12", datetime(2026, 12, 31, tzinfo=UTC), False),
        ("2026/12", datetime(2027, 1, 1, tzinfo=UTC), True),
        ("2026/11/28", datetime(2026, 11, 28, 12, tzinfo=UTC), False),
        ("2026/11/28", datetime(2026, 11, 29, tzinfo=UTC), True),
        ("2026/11/28/21", datetime(2026, 11, 28, 21, 59, tzinfo=UTC), False),
        ("2026/11/28/21", datetime(2026, 11, 28, 22, tzinfo=UTC), True),
        ("2026/11/28/21/59", datetime(2026, 11, 28, 22, tzinfo=UTC), True),
    ],
)
def test_only_what_is_of_a_time_that_was_over_is_deleted(
    collected: Collected, tmp_path: Path, period: str, before: datetime, gone: bool
) -> None:
    collected.append(BLUE, named(f"request/{period}/7-000001.jsonl", RUN), b"1\n", offset=0)
    assert len(collected.remove(BLUE, before=before)) == gone
    assert (paths(collected) == []) == gone
    assert [each.name for each in (tmp_path / "collected").iterdir()] == ([] if gone else ["w"])


def test_another_workspace_of_the_name_finds_nothing(collected: Collected) -> None:
    collected.append(BLUE, named("request/2026/7-000001.jsonl", RUN), b"1\n", offset=0)
    collected.remove_workspace("w")
    collected.remove_workspace("never")
    assert paths(collected) == []
