"""Turns decoded rows into what models take: a pandas frame, or numpy arrays. Enforces the signature on the way."""

from __future__ import annotations

import base64
import binascii
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from .bodies import Arrays, BadBody, Table
from .mlmodel import Column, Signature, Tensor

# Looked up by name: they belong to the model's environment, not to ours.
numpy: Any = importlib.import_module("numpy")

NUMERIC = {"double": "float64", "float": "float32", "long": "int64", "integer": "int32"}  # MLflow's words, numpy's


@cache
def _pandas() -> Any:
    """pandas, or None where there is none: many small models need numpy only, and it takes long to import."""
    try:
        return importlib.import_module("pandas")
    except ImportError:
        return None


@dataclass(frozen=True)
class Shape:
    """How a model wants its input. `names` are the columns in the model's order; empty when it says none."""

    columns: tuple[Column, ...]
    tensors: tuple[Tensor, ...]
    names: tuple[str, ...]
    dtype: str  # of all columns when they are of one numeric type, otherwise empty
    wants_frame: bool  # with names; otherwise an array does
    outputs: tuple[Tensor, ...] = ()

    @classmethod
    def of(cls, signature: Signature, *, names: Sequence[str] = (), takes_arrays: bool = False) -> Shape:
        """The shape that a signature asks for; `names` are the columns the model itself remembers.

        A model that `takes_arrays` answers an array as it does a frame of the same numbers, provided that the names it
        remembers are those of the signature.
        """
        columns = signature.columns or tuple(Column(name=name, type="any") for name in names)
        ordered = tuple(column.name for column in columns)
        dtypes = {NUMERIC.get(column.type, "") for column in columns}
        is_array_enough = takes_arrays and "" not in dtypes and (not names or tuple(names) == ordered)
        return cls(
            columns=columns,
            tensors=signature.tensors,
            names=ordered,
            dtype=dtypes.pop() if len(dtypes) == 1 else "",
            wants_frame=not is_array_enough and _pandas() is not None,
            outputs=signature.outputs,
        )


def align(table: Table, shape: Shape) -> Table:
    """The table with the model's columns, in the model's order. Extra columns are left out, as MLflow does.

    Raises:
        BadBody: a required column is missing, or unnamed rows have another width.
    """
    if not shape.names or table.columns is shape.names or table.columns == shape.names:
        return table
    if table.columns is None:
        width = len(table.rows[0]) if len(table.rows) else len(shape.names)
        if width != len(shape.names):
            raise BadBody(f"Rows have {width} values where the model takes {len(shape.names)}: {_few(shape.names)}.")
        return Table(columns=shape.names, rows=table.rows)
    where = {name: position for position, name in enumerate(table.columns)}
    missing = [column.name for column in shape.columns if column.is_required and column.name not in where]
    if missing:
        raise BadBody(
            f"Missing column{'s' if len(missing) > 1 else ''}: {_few(missing)}. The model takes: {_few(shape.names)}."
        )
    places = [where.get(name) for name in shape.names]
    rows = [[None if place is None else row[place] for place in places] for row in table.rows]
    return Table(columns=shape.names, rows=rows)


def frame(table: Table, shape: Shape) -> Any:
    """Rows as a pandas frame with the signature's types; as an array where pandas is missing or the rows have no names.

    Raises:
        BadBody: a value is not of its column's type.
    """
    if table.columns is None:
        return array(table.rows, shape.tensors[0] if shape.tensors else None)
    if shape.dtype:
        values = _one_type(table, shape)
    elif any(column.type != "any" for column in shape.columns):
        return _several_types(table, table.columns, shape)
    else:
        values = table.rows
    if not shape.wants_frame:
        return numpy.asarray(values)
    return _pandas().DataFrame(values, columns=list(table.columns))


def arrays(named: Arrays, shape: Shape) -> Any:
    """Nested lists as one array (the only input), or as a dictionary of arrays.

    Raises:
        BadBody: an input is missing or unknown, or its lists make no array of its type and shape.
    """
    by_name = {tensor.name: tensor for tensor in shape.tensors}
    if set(named.named) == {""}:
        only = shape.tensors[0] if len(shape.tensors) == 1 else None
        return array(named.named[""], only)
    if missing := [name for name in by_name if name and name not in named.named]:
        raise BadBody(f"Missing inputs: {_few(missing)}.")
    return {name: array(value, by_name.get(name)) for name, value in named.named.items()}


def columns_of(named: Arrays, shape: Shape) -> Table:
    """Lists by column name as a table: `{"a": [1, 2], "b": [3, 4]}` has two rows.

    Raises:
        BadBody: an entry is no list, or they differ in length.
    """
    lists: dict[str, list[object]] = {}
    for name, value in named.named.items():
        if not isinstance(value, list):
            raise BadBody(f"Column {name!r} has no list of values.")
        lists[name or "inputs"] = value
    lengths = {len(values) for values in lists.values()}
    if len(lengths) > 1:
        raise BadBody("Columns differ in length. Send as many values for each.")
    rows = [list(row) for row in zip(*lists.values())]
    return align(Table(columns=tuple(lists), rows=rows), shape)


def array(values: Any, tensor: Tensor | None) -> Any:
    """Nested lists as an array of the tensor's type.

    Raises:
        BadBody: they are ragged, or not of that type or shape.
    """
    try:
        made = numpy.asarray(values)
        if tensor is not None:
            made = made.astype(tensor.dtype, casting="unsafe" if made.dtype.kind in "iuf" else "same_kind", copy=False)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadBody(f"The values make no array{f' of {tensor.dtype}' if tensor else ''}: {error}.") from error
    if tensor is not None and not _fits(made.shape, tensor.shape):
        raise BadBody(f"The input has the shape {made.shape} where the model takes {tensor.shape} (-1 is any).")
    return made


def _fits(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    return not wanted or (len(shape) == len(wanted) and all(w in (-1, s) for s, w in zip(shape, wanted)))


def _one_type(table: Table, shape: Shape) -> Any:
    """All cells as one numeric array: one call for the whole table, which is what makes batches cheap."""
    try:
        values = numpy.array(table.rows)
    except (ValueError, OverflowError) as error:
        raise BadBody(f"The rows make no table of numbers: {error}.") from error
    if values.dtype.kind not in "iuf" or (values.dtype.kind == "f" and shape.dtype.startswith("int")):
        columns = [_cells(table, place, column) for place, column in enumerate(shape.columns)]
        return numpy.column_stack(columns) if table.rows else numpy.empty((0, len(columns)))
    return values.astype(shape.dtype, copy=False)


def _several_types(table: Table, names: Sequence[str], shape: Shape) -> Any:
    typed = {column.name: _cells(table, place, column) for place, column in enumerate(shape.columns)}
    if shape.wants_frame:
        return _pandas().DataFrame(typed, columns=list(names))
    if all(column.type in NUMERIC for column in shape.columns):
        return numpy.column_stack(list(typed.values()))  # of the type that holds them all, as a frame becomes one
    raise BadBody("This model takes columns of several types, for which its environment needs pandas.")


def _cells(table: Table, place: int, column: Column) -> Any:
    """The cells of one column, converted to its type."""
    cells = [row[place] for row in table.rows]
    convert = _CONVERTERS.get(column.type)
    if convert is None:
        return cells
    try:
        return convert(cells, column)
    except (ValueError, TypeError, OverflowError, binascii.Error) as error:
        raise BadBody(f"Column {column.name!r} is of type {column.type}: {error}.") from error


def _floats(cells: Sequence[object], column: Column) -> Any:
    for cell in cells:
        if cell is not None and not isinstance(cell, (int, float)):
            raise ValueError(f"{cell!r} is no number")
    return numpy.array(cells, dtype=NUMERIC[column.type])  # None becomes NaN


def _integers(cells: Sequence[object], column: Column) -> Any:
    for cell in cells:
        if not isinstance(cell, (int, float)) or cell != int(cell):
            raise ValueError(f"{cell!r} is no whole number")
    return numpy.array(cells, dtype=NUMERIC[column.type])


def _booleans(cells: Sequence[object], column: Column) -> Any:
    for cell in cells:
        if not isinstance(cell, bool):
            raise ValueError(f"{cell!r} is neither true nor false")
    return numpy.array(cells, dtype=bool)


def _strings(cells: Sequence[object], column: Column) -> Any:
    for cell in cells:
        if cell is not None and not isinstance(cell, str):
            raise ValueError(f"{cell!r} is no string")
    return numpy.array(cells, dtype=object)


def _times(cells: Sequence[object], column: Column) -> Any:
    return numpy.array(cells, dtype="datetime64[ns]")


def _bytes(cells: Sequence[object], column: Column) -> Any:
    return [base64.b64decode(str(cell), validate=True) for cell in cells]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


_CONVERTERS: Mapping[str, Callable[[Sequence[object], Column], Any]] = {
    "double": _floats,
    "float": _floats,
    "long": _integers,
    "integer": _integers,
    "boolean": _booleans,
    "string": _strings,
    "datetime": _times,
    "binary": _bytes,
}
