"""Tensors as a model's input, by its signature; and what a signature says, as tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..bodies import Arrays, BadBody, Table
from ..frames import Shape
from ..mlmodel import Tensor
from . import tensors
from .tensors import numpy

#: The name of a model's only input or output where its signature gives none.
INPUT, OUTPUT = "input", "predict"
_BY_COLUMN_TYPE = {"double": "FP64", "float": "FP32", "long": "INT64", "integer": "INT32", "boolean": "BOOL"}

Metadata = Sequence[Mapping[str, object]]


def input_of(inputs: Mapping[str, Any], shape: Shape) -> Table | Arrays:
    """What the model is asked.

    A model of columns takes one tensor for each, `[n]` or `[n, 1]`, or a single one with all of them, `[n, columns]`.

    Raises:
        BadBody: the tensors are none of these.
    """
    if shape.tensors:
        only = shape.tensors[0].name if len(shape.tensors) == 1 else ""
        if len(inputs) == 1 and len(shape.tensors) == 1 and only not in inputs:
            return Arrays(named={only: next(iter(inputs.values()))})
        return Arrays(named=inputs)
    if len(inputs) == 1:
        name, array = next(iter(inputs.items()))
        if array.ndim == 2 and name not in shape.names:
            return Table(columns=None, rows=_rows(array, shape))
    if not shape.names:
        return Arrays(named={"": next(iter(inputs.values()))} if len(inputs) == 1 else inputs)
    return _of_columns(inputs, shape)


def _of_columns(inputs: Mapping[str, Any], shape: Shape) -> Table:
    flat: dict[str, Any] = {}
    for name, array in inputs.items():
        if array.ndim > 2 or (array.ndim == 2 and array.shape[1] != 1):
            raise BadBody(
                f"Input {name!r} has the shape {list(array.shape)}. Send a tensor [n] or [n, 1] for each column, or "
                f"one [n, {len(shape.names)}] for all."
            )
        flat[name] = array.reshape(-1)
    if len({len(array) for array in flat.values()}) > 1:
        raise BadBody("Inputs differ in their number of rows.")
    if all(array.dtype.kind in "iuf" for array in flat.values()):
        rows = _rows(numpy.column_stack(list(flat.values())), shape)
    else:
        rows = [list(row) for row in zip(*(array.tolist() for array in flat.values()))]
    return Table(columns=tuple(flat), rows=rows)


def _rows(array: Any, shape: Shape) -> list[list[object]]:
    """Numbers that need no conversion stay an array, which does for rows and costs nothing to read."""
    is_float_for_int = array.dtype.kind == "f" and shape.dtype.startswith("int")
    fits = shape.dtype or all(column.type == "any" for column in shape.columns)
    if array.dtype.kind in "iuf" and fits and not is_float_for_int:
        return cast("list[list[object]]", array)
    return array.tolist()


def kind_of(table: Table) -> tuple[object, ...]:
    """What tables must have in common to be put together without a change of any value."""
    return ("v2", table.columns, str(getattr(table.rows, "dtype", "")))


def together(tables: Sequence[Table]) -> Table:
    """Tables of one kind as one."""
    rows: Any = [table.rows for table in tables]
    joined: Any = numpy.concatenate(rows) if hasattr(rows[0], "dtype") else [row for each in rows for row in each]
    return Table(columns=tables[0].columns, rows=joined)


def metadata_of_inputs(shape: Shape) -> Metadata:
    """The inputs that a model takes."""
    if shape.tensors:
        return [_described(tensor, INPUT) for tensor in shape.tensors]
    if shape.columns and shape.columns[0].type != "any":
        return [
            {"name": column.name, "datatype": _BY_COLUMN_TYPE.get(column.type, tensors.BYTES), "shape": [-1, 1]}
            for column in shape.columns
        ]
    return [{"name": INPUT, "datatype": "FP64", "shape": [-1, len(shape.names) or -1]}]


def metadata_of_outputs(outputs: Sequence[Tensor]) -> Metadata:
    """The outputs that a signature promises; any number a row where it promises none."""
    return [_described(output, OUTPUT) for output in outputs] or [{"name": OUTPUT, "datatype": "FP64", "shape": [-1]}]


def metadata_of_arrays(arrays: Mapping[str, Any]) -> Metadata:
    """The outputs that a model was seen to give: the first dimension is the rows."""
    return [
        {"name": name, "datatype": tensors.datatype_of(array.dtype), "shape": [-1, *array.shape[1:]]}
        for name, array in arrays.items()
    ]


def _described(tensor: Tensor, default: str) -> Mapping[str, object]:
    try:
        datatype = tensors.datatype_of(tensor.dtype)
    except TypeError:  # a word that numpy does not know
        datatype = tensors.BYTES
    return {"name": tensor.name or default, "datatype": datatype, "shape": list(tensor.shape)}
