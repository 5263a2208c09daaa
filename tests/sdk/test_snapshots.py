"""Folders as snapshots: what is in them, what is not, and what is sent."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from tests.sdk.served import Served

from ultramarine.domain.errors import InvalidInput
from ultramarine.sdk.connection import Connection
from ultramarine.sdk.http import Client
from ultramarine.sdk.snapshots import download, take, upload

PATH = "/api/v1/workspaces/default"


def paths(folder: Path, *, ignoring: bool = True) -> list[str]:
    return sorted(entry.path for entry in take(folder, what="code", ignoring=ignoring).entries)


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


class Counted(Client):
    """Counts its requests."""

    def __init__(self, server: Served) -> None:
        super().__init__(Connection(url=server.url, token=server.token, workspace="default"))
        self.asked: list[str] = []

    def send(self, method: str, path: str, body: object = None, *, headers: object = None) -> bytes:
        self.asked.append(f"{method} {path.rsplit('/', 2)[1]}")
        return super().send(method, path, body, headers=headers)  # type: ignore[arg-type]


def test_amlignore_says_what_is_left_out(tmp_path: Path):
    fill(tmp_path, "train.py", "data/big.csv", "a.log", ".gitignore", "__pycache__/x.pyc", ".git/config")
    (tmp_path / ".amlignore").write_text("data/\n*.log\n")
    (tmp_path / ".gitignore").write_text("train.py\n")
    assert paths(tmp_path) == [".amlignore", ".gitignore", "train.py"]


def test_without_amlignore_gitignore_is_read(tmp_path: Path):
    fill(tmp_path, "train.py", "keep.log", "b.log")
    (tmp_path / ".gitignore").write_text("*.log\n!keep.log\n")
    assert paths(tmp_path) == [".gitignore", "keep.log", "train.py"]


def test_of_data_nothing_is_left_out(tmp_path: Path):
    fill(tmp_path, "a.log")
    (tmp_path / ".gitignore").write_text("*.log\n")
    assert paths(tmp_path, ignoring=False) == [".gitignore", "a.log"]


def test_the_same_content_has_the_same_manifest_wherever_it_lies(tmp_path: Path):
    first, second = fill(tmp_path / "1", "b/x", "a", "b-c"), fill(tmp_path / "2", "b-c", "a", "b/x")
    manifest = take(first, what="code").manifest
    assert manifest == take(second, what="code").manifest
    assert [file["path"] for file in json.loads(manifest)["files"]] == ["a", "b-c", "b/x"]


def test_a_program_stays_a_program(tmp_path: Path):
    fill(tmp_path, "run.sh").joinpath("run.sh").chmod(0o755)
    assert take(tmp_path, what="code").entries[0].mode == 0o755


def test_a_link_inside_is_followed_and_one_that_leads_out_is_refused(tmp_path: Path):
    folder = fill(tmp_path / "code", "a.py", "package/b.py")
    fill(tmp_path, "secret")
    (folder / "link.py").symlink_to("a.py")
    (folder / "linked").symlink_to("package")
    assert paths(folder) == ["a.py", "link.py", "linked/b.py", "package/b.py"]
    (folder / "out").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidInput, match=r"code/out is a link to .*secret, outside of"):
        paths(folder)


def test_a_link_to_a_folder_above_is_refused_and_not_followed_for_ever(tmp_path: Path):
    folder = fill(tmp_path / "code", "a/b.py")
    (folder / "a" / "loop").symlink_to("..")
    with pytest.raises(InvalidInput, match="is a link to a folder that holds it"):
        paths(folder)


def test_a_pipe_is_no_file(tmp_path: Path):
    os.mkfifo(fill(tmp_path, "a.py") / "pipe")
    with pytest.raises(InvalidInput, match="pipe is no plain file"):
        paths(tmp_path)


def test_a_link_to_nothing_is_named(tmp_path: Path):
    (fill(tmp_path, "a.py") / "gone").symlink_to("nowhere")
    with pytest.raises(InvalidInput, match="gone cannot be read: No such file"):
        paths(tmp_path)


def test_a_folder_that_is_missing_or_empty_is_named(tmp_path: Path):
    with pytest.raises(InvalidInput, match=r"code: there is no file or folder .*nowhere"):
        take(tmp_path / "nowhere", what="code")
    with pytest.raises(InvalidInput, match="has no files to send"):
        take(tmp_path, what="code")


def test_unchanged_code_costs_one_request_and_a_changed_file_is_sent_alone(tmp_path: Path, server: Served):
    folder = fill(tmp_path, "one.py", "two.py")
    (folder / "one.py").write_text(os.urandom(8).hex())
    client = Counted(server)
    first = upload(client, PATH, take(folder, what="code"))
    client.asked.clear()
    assert upload(client, PATH, take(folder, what="code")) == first
    assert client.asked == ["PUT snapshots"]
    (folder / "two.py").write_text(os.urandom(8).hex())
    client.asked.clear()
    assert upload(client, PATH, take(folder, what="code")) != first
    assert client.asked == ["PUT snapshots", "PUT blobs", "PUT snapshots"]


def test_what_was_uploaded_is_downloaded_the_same(tmp_path: Path, server: Served):
    folder = fill(tmp_path / "up", "a/b/c.txt", "d.sh")
    (folder / "d.sh").chmod(0o755)
    client = Counted(server)
    sha256 = upload(client, PATH, take(folder, what="path")).removeprefix("snapshot:")
    assert hashlib.sha256(take(folder, what="path").manifest).hexdigest() == sha256
    written = list(download(client, PATH, sha256, folder=tmp_path / "down"))
    assert {str(file.relative_to(tmp_path / "down")) for file in written} == {"a/b/c.txt", "d.sh"}
    assert (tmp_path / "down" / "a/b/c.txt").read_text() == "a/b/c.txt"
    assert os.access(tmp_path / "down" / "d.sh", os.X_OK)


def test_progress_counts_every_byte_that_is_sent(tmp_path: Path, server: Served):
    content = os.urandom(300_000)
    (tmp_path / "big").write_bytes(content)
    told = Told()
    upload(Counted(server), PATH, take(tmp_path, what="path"), progress=told)
    assert (told.files, told.expected, told.seen, told.is_over) == (1, len(content), len(content), True)


class Told:
    files = expected = seen = 0
    is_over = False

    def begin(self, *, files: int, size_bytes: int) -> None:
        self.files, self.expected = files, size_bytes

    def advance(self, size_bytes: int) -> None:
        self.seen += size_bytes

    def end(self) -> None:
        self.is_over = True
