"""What is read quickly is what Python's own `json` reads, to the type and the last bit, and is refused in its words."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving.scoring.environment import ROOT

from ultramarine_serving.scoring import quick_json
from ultramarine_serving.scoring.bodies import BadBody, Body, Reader, Table, decode

NAMES = ("a", "mean ä", "")
ODD = (
    b"-0", b"-0.0", b"18446744073709551616", b"-9223372036854775809", b"1" * 400, b"1" * 5000, b"1e400", b"-1e400",
    b"1e-400", b"NaN", b"-Infinity", b'"\\ud800"', b'"\\ud83d\\ude00"', b'{"a":1,"a":2}', b"1E+2", b'"\x01"', b'"\xff"',
    b'"\xed\xa0\x80"', b"\xef\xbb\xbf1", b" 1 \n", b"1 2", b"[1,]", b"01", b"1.", b"+1", b"\x001", b'"\\u0000"', b"",
    b"[" * 500 + b"]" * 500, b"[" * 100_000, b"0.1234567890123456789012345678901234567890", b"2.2250738585072011e-308",
    b"1.7976931348623159e308", b"9007199254740993.0", b"tru", b'"a', b"-", b"\x0c1", b"{1:2}",
)  # fmt: skip
CELLS = st.one_of(
    st.integers(), st.floats(), st.none(), st.booleans(), st.text(max_size=3), st.lists(st.integers(), max_size=2)
)
NUMBERS = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**30), 10**30))


def of_python(text: bytes) -> str:
    return seen(lambda: json.loads(str(text, "utf-8")))


def seen(read: Any) -> str:
    try:
        return repr(read())
    except (ValueError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"


def said(read: Any) -> Body | str:
    try:
        return read()
    except BadBody as error:
        return str(error)


@pytest.mark.parametrize("text", ODD, ids=lambda text: repr(text[:30]))
def test_an_odd_text_is_read_or_refused_as_python_does(text: bytes):
    assert quick_json.msgspec is not None, "else nothing is compared"
    assert seen(lambda: quick_json.loads(text)) == of_python(text)


@given(st.recursive(CELLS, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner), max_leaves=9))
def test_any_document_is_read_as_python_does(document: Any):
    short = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    assert seen(lambda: quick_json.loads(short)) == of_python(short)
    escaped = json.dumps(document).encode()
    assert seen(lambda: quick_json.loads(escaped)) == of_python(escaped)


@given(st.data())
def test_a_text_with_a_wrong_byte_is_read_or_refused_as_python_does(data: st.DataObject):
    text = bytearray(json.dumps({"input_data": {"columns": ["é", 1], "data": [[1.5, -2e3, None, True]]}}).encode())
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    assert seen(lambda: quick_json.loads(bytes(text))) == of_python(bytes(text))


@given(
    st.lists(st.lists(CELLS, min_size=3, max_size=3) | st.lists(CELLS, max_size=4), max_size=3),
    st.sampled_from(["input_data", "dataframe_split", "inputs"]),
    st.dictionaries(st.sampled_from(["index", "more", "params"]), st.lists(st.integers(), max_size=2), max_size=1),
)
def test_a_table_is_read_as_any_other_body(rows: Any, key: str, more: Any):
    body = json.dumps({key: {"columns": NAMES, "data": rows, **more}}).encode()
    reader = Reader(NAMES)
    for _ in range(2):  # the second time its columns are known
        assert repr(said(lambda: reader.read(body))) == repr(said(lambda: decode(body)))


@given(st.lists(st.lists(NUMBERS | CELLS, min_size=3, max_size=3), max_size=3))
def test_cells_of_columns_of_floats_are_read_as_any_other_or_are_the_floats_that_python_makes_of_them(rows: Any):
    body = json.dumps({"dataframe_split": {"columns": NAMES, "data": rows}}).encode()
    read = Reader(NAMES, are_floats=True).read(body).input
    usual = decode(body).input
    as_floats: Any = [[float(cell) if type(cell) is int else cell for cell in row] for row in rows]
    assert repr(read) in (repr(usual), repr(Table(columns=NAMES, rows=as_floats)))


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=4))
def test_cells_of_columns_of_floats_are_the_floats_that_python_makes_of_them(rows: Any):
    body = json.dumps({"input_data": {"columns": NAMES, "index": [0], "data": rows}}).encode()
    read = Reader(NAMES, are_floats=True).read(body).input
    assert repr(read) == repr(Table(columns=NAMES, rows=[[float(cell) for cell in row] for row in rows]))


@pytest.mark.parametrize(
    "columns",
    [
        '["mean ä","a",""]',
        '["a","mean ä"]',
        '["a","mean ä","",""]',
        "null",
        '["a","mean ä",1]',
        '["a","mean \\u00e4",""]',
    ],
)
def test_columns_are_those_that_are_written_whatever_was_sent_before(columns: str):
    reader = Reader(NAMES)
    usual = json.dumps({"input_data": {"columns": NAMES, "data": [[1, 2, 3]]}}).encode()
    other = f'{{"input_data": {{"columns": {columns}, "data": [[1, 2, 3]]}}}}'.encode()
    for body in (usual, other, usual, other):
        assert said(partial(reader.read, body)) == said(partial(decode, body))


@pytest.mark.parametrize("old", ["", "__version__ = '0.15.1'"])
def test_bodies_are_read_where_there_is_no_msgspec_or_only_an_old_one(tmp_path: Path, old: str):
    if old:
        (tmp_path / "msgspec.py").write_text(old)
    program = (
        "import sys; sys.path[:0] = sys.argv[1:];"
        "from ultramarine_serving.scoring.bodies import Reader, quick_json;"
        "assert quick_json.msgspec is None;"
        'body = b\'{"input_data": {"columns": ["a"], "data": [[1]]}}\';'
        "print(Reader(('a',), are_floats=True).read(body).input.rows)"
    )
    command = [sys.executable, "-S", "-c", program, str(ROOT / "src"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[[1]]\n", "")
