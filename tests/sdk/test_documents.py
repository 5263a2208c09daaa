"""YAML files of resources."""

from pathlib import Path
from typing import Any

import pytest

from ultramarine.domain.errors import InvalidInput
from ultramarine.sdk.documents import apply, read_document


def written(folder: Path, text: str) -> Path:
    file = folder / "job.yml"
    file.write_text(text)
    return file


def test_a_file_is_read_and_paths_start_at_its_folder(tmp_path: Path):
    read = read_document(written(tmp_path, "name: a\ninputs: {n: 3}\n"))
    assert read.body == {"name": "a", "inputs": {"n": 3}}
    assert read.folder == tmp_path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\ncode: [\n", r"job\.yml: Line 3: "),
        ("name: a\nname: b\n", r"job\.yml: Line 2: the key 'name'"),
        ("- a\n", "holds no fields"),
        ("a: &a [x]\nb: [" + "*a, " * 50 + "]\n", "aliases"),
        ("a: !!python/object:os.system {}\n", "Line 1"),
    ],
)
def test_what_cannot_be_taken_is_named_with_file_and_line(tmp_path: Path, text: str, said: str):
    with pytest.raises(InvalidInput, match=said):
        read_document(written(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(InvalidInput, match=r"no-such.yml cannot be read: No such file"):
        read_document(tmp_path / "no-such.yml")


def test_a_file_that_is_no_text_is_named(tmp_path: Path):
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04\xff")
    with pytest.raises(InvalidInput, match="no UTF-8 text"):
        read_document(tmp_path / "model.pkl")


@pytest.mark.parametrize(
    ("override", "after"),
    [
        ("a.b=3", {"a": {"b": 3}, "l": [1, {"x": 1}]}),
        ("a.b=[x, y]", {"a": {"b": ["x", "y"]}, "l": [1, {"x": 1}]}),
        ("c.d.e=true", {"a": {"b": 1}, "l": [1, {"x": 1}], "c": {"d": {"e": True}}}),
        ("l.0=text", {"a": {"b": 1}, "l": ["text", {"x": 1}]}),
        ("l.1.x=2", {"a": {"b": 1}, "l": [1, {"x": 2}]}),
        ("a.b=x=y", {"a": {"b": "x=y"}, "l": [1, {"x": 1}]}),
        ('a.b="3"', {"a": {"b": "3"}, "l": [1, {"x": 1}]}),
    ],
)
def test_set_changes_one_field_with_a_value_that_is_yaml(override: str, after: dict[str, Any]):
    body: dict[str, Any] = {"a": {"b": 1}, "l": [1, {"x": 1}]}
    apply(body, override)
    assert body == after


@pytest.mark.parametrize("override", ["a", "=3", "a..b=1", "l.7=1", "l.x=1", "a=[", "a=b: c: d"])
def test_a_set_that_says_nothing_clear_is_refused(override: str):
    with pytest.raises(InvalidInput, match="--set"):
        apply({"l": [1]}, override)
