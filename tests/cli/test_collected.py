"""What a deployment has collected, on the command line: of one that is gone too."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import Um
from tests.sdk.served import Served

from ultramarine.cli.command import NOT_FOUND, OK, USAGE

OF = ("-e", "sum", "-n", "blue")
FILES = {
    "request/2026/11/27/21/e1-d-1-7-000001.jsonl": b'{"data": 1}\n',
    "request/2026/11/28/21/e1-d-1-7-000002.jsonl": b'{"data": 2}\n' * 900_000,  # more than one piece
    "response/2026/11/28/e1-d-1-7-000001.jsonl": b'{"data": 3}\n',
}


@pytest.fixture
def collected(signed_in: Path, server: Served) -> Iterator[Path]:
    folder = server.home / "files" / "collected" / "default" / "sum" / "blue"
    for path, content in FILES.items():
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_bytes(content)
    yield signed_in
    server.workspace().online_deployments.delete_collected("blue", "sum")


def test_files_are_listed_by_collection_and_time(um: Um, collected: Path):
    listed = um("online-deployment", "collected", *OF, "-o", "json")
    assert [(row["path"], row["size"]) for row in json.loads(listed.out)] == [(p, len(c)) for p, c in FILES.items()]
    one = um("online-deployment", "collected", *OF, "--collection", "response", "-o", "tsv")
    assert one.out == "response/2026/11/28/e1-d-1-7-000001.jsonl\t12\n"


def test_files_are_downloaded_whole_as_they_are_named(um: Um, collected: Path):
    done = um("online-deployment", "collected", *OF, "-p", "kept")
    assert (done.code, "3 files in kept" in done.err) == (OK, True)
    assert {str(f.relative_to("kept")): f.read_bytes() for f in Path("kept").rglob("*.jsonl")} == FILES
    assert "1 file in one" in um("online-deployment", "collected", *OF, "--collection", "response", "-p", "one").err


def test_what_is_old_is_deleted_once_somebody_says_so(um: Um, collected: Path):
    delete = ("online-deployment", "delete-collected", *OF, "--before", "2026-11-28")
    assert um(*delete).code != OK, "nobody is there to be asked"
    assert "Deleted: 1 file, 12 bytes" in um(*delete, "--yes").err
    assert um("online-deployment", "collected", *OF, "-o", "tsv").out.count("\n") == 2
    assert um(*delete[:-1], "yesterday", "--yes").code == USAGE


def test_of_what_never_was_there_is_nothing(um: Um, signed_in: Path):
    assert um("online-deployment", "collected", "-e", "none", "-n", "blue").code == NOT_FOUND
