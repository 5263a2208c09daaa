"""Request bodies of MLflow models, as Azure and MLflow write them, decoded to rows.

Pure, and free of numpy and pandas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from . import quick_json

KEYS = ("input_data", "dataframe_split", "dataframe_records", "instances", "inputs")
CONTENT_TYPES = ("application/json",)
_SPLIT = ("input_data", "dataframe_split")
_NO_PARAMS: Mapping[str, object] = {}
_SPLIT_KEYS = frozenset({"columns", "index", "data"})


class BadBody(Exception):
    """The request cannot be answered as it is written. The message says what is wrong and what is expected."""


class Table(NamedTuple):
    """Rows of cells. `columns` is None for rows without names."""

    columns: tuple[str, ...] | None
    rows: list[list[object]]


@dataclass(frozen=True)
class Arrays:
    """Nested lists that stand for arrays, by the input's name; the empty name stands for the only input."""

    named: Mapping[str, object]


class Body(NamedTuple):
    """What one request asks: its input, and parameters for the model (mostly none)."""

    input: Table | Arrays
    params: Mapping[str, object]


def text(body: bytes) -> str:
    """The body as text.

    Raises:
        BadBody: it is not UTF-8.
    """
    try:
        return str(body, "utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(body, error) from error


class Reader:
    """Reads the bodies that are sent to one model. `names` are its columns; `are_floats`: each takes any number."""

    def __init__(self, names: tuple[str, ...] = (), *, are_floats: bool = False) -> None:
        self._names = names
        self._tables = quick_json.TableReader(_SPLIT, names, are_floats=are_floats) if names else None

    def read(self, body: bytes) -> Body:
        """Read one request.

        Raises:
            BadBody: it is not UTF-8, not JSON, or none of the known shapes.
        """
        rows = None if self._tables is None else self._tables.rows(body)
        return decode(body) if rows is None else Body(Table(self._names, rows), _NO_PARAMS)


def document(body: bytes) -> object:
    """The body as JSON.

    Raises:
        BadBody: it is not UTF-8 or not JSON.
    """
    try:
        return quick_json.loads(body)
    except UnicodeDecodeError as error:
        raise _not_utf8(body, error) from error
    except RecursionError as error:
        raise BadBody("The body is nested too deeply.") from error
    except ValueError as error:
        raise BadBody(f"The body is not JSON: {error}.") from error


def _not_utf8(body: bytes, error: UnicodeDecodeError) -> BadBody:
    return BadBody(f"The body is not UTF-8: byte {error.start} is 0x{body[error.start]:02x}.")


def decode(body: bytes) -> Body:
    """Read one request of any known shape.

    Raises:
        BadBody: it is not UTF-8, not JSON, or none of the known shapes.
    """
    if not body:
        raise BadBody(f"The body is empty. Send a JSON object with one of: {', '.join(KEYS)}.")
    fields = document(body)
    if not isinstance(fields, dict):
        raise BadBody(f"The body is a JSON {_kind(fields)}. Send an object with one of: {', '.join(KEYS)}.")
    named = cast(dict[str, object], fields)
    used = [key for key in KEYS if key in named]
    if len(used) != 1:
        seen = ", ".join(used or named) or "nothing"
        raise BadBody(f"The body has {seen}. Send exactly one of: {', '.join(KEYS)}.")
    key = used[0]
    params: object = named.get("params") or {}
    if not isinstance(params, dict):
        raise BadBody(f"params is a JSON {_kind(params)}. Send an object.")
    return Body(input=_READERS[key](named[key], key), params=cast(Mapping[str, object], params))


def _input_data(value: object, key: str) -> Table | Arrays:
    if isinstance(value, dict):
        named = cast(dict[str, object], value)
        is_table = "data" in named and _SPLIT_KEYS.issuperset(named)
        return _split(named, key) if is_table else _named_arrays(named, key)
    return _list(value, key)


def _split(value: object, key: str) -> Table:
    if not isinstance(value, dict) or "data" not in value:
        raise BadBody(f"{key} is no object with columns and data.")
    named = cast(dict[str, object], value)
    columns = named.get("columns")
    names = None if columns is None else _names(columns, key)
    rows = _rows(named["data"], key)
    _check_widths(rows, len(names) if names is not None else None, key)
    return Table(columns=names, rows=rows)


def _records(value: object, key: str) -> Table:
    if not isinstance(value, list):
        raise BadBody(f"{key} is a JSON {_kind(value)}. Send a list of objects.")
    records: list[dict[str, object]] = []
    for number, record in enumerate(cast(list[object], value)):
        if not isinstance(record, dict):
            raise BadBody(
                f"Row {number} of {key} is a JSON {_kind(record)}. Send an object with a value for each column."
            )
        records.append(cast(dict[str, object], record))
    # Order of first appearance; a row that lacks a column has a missing value there, as in pandas.
    columns = tuple(dict.fromkeys(name for record in records for name in record))
    return Table(columns=columns, rows=[[record.get(name) for name in columns] for record in records])


def _list(value: object, key: str) -> Table | Arrays:
    """Rows: a list of objects (columns by name), of lists (by position) or of single values."""
    if not isinstance(value, list):
        raise BadBody(f"{key} is a JSON {_kind(value)}. Send a list of rows.")
    entries = cast(list[object], value)
    if entries and all(isinstance(entry, dict) for entry in entries):
        return _records(entries, key)
    if _is_table(entries):
        rows = cast(list[list[object]], entries)
        _check_widths(rows, None, key)
        return Table(columns=None, rows=rows)
    return Arrays(named={"": entries})


def _inputs(value: object, key: str) -> Table | Arrays:
    return _named_arrays(cast(dict[str, object], value), key) if isinstance(value, dict) else _list(value, key)


def _named_arrays(value: dict[str, object], key: str) -> Arrays:
    if not value:
        raise BadBody(f"{key} is an empty object. Send a list of values for each input.")
    return Arrays(named=value)


def _is_table(entries: Sequence[object]) -> bool:
    return all(
        isinstance(row, list) and not any(isinstance(cell, list) for cell in cast(list[object], row)) for row in entries
    )


def _names(columns: object, key: str) -> tuple[str, ...]:
    if not isinstance(columns, list):
        raise BadBody(f"columns of {key} is a JSON {_kind(columns)}. Send a list of names.")
    names = tuple(cast(list[object], columns))
    if not all(isinstance(name, str) for name in names):
        names = tuple(str(name) for name in names)  # pandas numbers columns that have no names
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadBody(f"columns of {key} has {twice!r} more than once.")
    return cast(tuple[str, ...], names)


def _rows(data: object, key: str) -> list[list[object]]:
    if not isinstance(data, list):
        raise BadBody(f"data of {key} is a JSON {_kind(data)}. Send a list of rows.")
    for number, row in enumerate(cast(list[object], data)):
        if not isinstance(row, list):
            raise BadBody(f"Row {number} of {key} is a JSON {_kind(row)}. Send a list of values.")
    return cast(list[list[object]], data)


def _check_widths(rows: Sequence[Sequence[object]], width: int | None, key: str) -> None:
    expected = width if width is not None else len(rows[0]) if rows else 0
    for number, row in enumerate(rows):
        if len(row) != expected:
            raise BadBody(f"Row {number} of {key} has {len(row)} values where {expected} are expected.")


def _kind(value: object) -> str:
    if value is None:
        return "null"
    return {"dict": "object", "list": "list", "str": "string", "bool": "boolean"}.get(type(value).__name__, "number")


_READERS = {
    "input_data": _input_data,
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _list,
    "inputs": _inputs,
}
