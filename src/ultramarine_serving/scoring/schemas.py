"""What an MLflow model takes, as a JSON schema (OpenAPI 3.0): one way to ask, exactly.

Pure. The other ways that bodies may be written are in the reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .frames import Shape
from .mlmodel import Column

Schema = Mapping[str, object]

# Beyond these a float32 is infinite, and many models compute in it whatever they are given.
_NUMBER: Schema = {"type": "number", "minimum": -3.4e38, "maximum": 3.4e38}
_BY_TYPE: Mapping[str, Schema] = {
    "double": {**_NUMBER, "format": "double"},
    "float": {**_NUMBER, "format": "float"},
    "long": {"type": "integer", "format": "int64", "minimum": -(2**63), "maximum": 2**63 - 1},
    "integer": {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1},
    "boolean": {"type": "boolean"},
    "string": {"type": "string"},
    "datetime": {"type": "string", "format": "date-time"},
    "binary": {"type": "string", "format": "byte"},
}


def asked(shape: Shape) -> Schema:
    """The body that /score and /invocations take."""
    if shape.tensors:
        given = {tensor.name: _nested(tensor.shape, tensor.dtype) for tensor in shape.tensors}
        return _object({"inputs": given[""] if set(given) == {""} else _object(given)})
    if not shape.names:
        return _object({"input_data": {"type": "array", "items": {}, "minItems": 1}})
    if shape.dtype or all(column.type == "any" for column in shape.columns):
        return _object({"input_data": _table(shape)})
    return _object({"input_data": {"type": "array", "minItems": 1, "items": _record(shape.columns)}})


def _table(shape: Shape) -> Schema:
    """Names once, or not where the order is the model's, then rows: all columns are of one type."""
    count = len(shape.names)
    cell = _of_column(shape.columns[0])
    row = {"type": "array", "items": cell, "minItems": count, "maxItems": count}
    columns = {"type": "array", "items": {"type": "string"}, "nullable": True, "enum": [list(shape.names), None]}
    rows = {"type": "array", "items": row, "minItems": 1}
    index: Schema = {"description": "Not looked at"}
    described = _object({"columns": columns, "index": index, "data": rows}, optional=("columns", "index"))
    return {**described, "additionalProperties": False}  # with another key it is an object of columns


def _record(columns: Sequence[Column]) -> Schema:
    """A row as an object: OpenAPI 3.0 has no lists whose places are of different types."""
    named = {column.name: _of_column(column) for column in columns}
    return _object(named, optional=[column.name for column in columns if not column.is_required])


def _of_column(column: Column) -> Schema:
    return _NUMBER if column.type == "any" else _BY_TYPE.get(column.type, {})


def _nested(shape: Sequence[int], dtype: str) -> Schema:
    """Lists in lists, as long as the shape says; -1 is any length."""
    if not shape:
        return _of_dtype(dtype)
    inner = _nested(shape[1:], dtype)
    length: Schema = {"minItems": 1} if shape[0] < 0 else {"minItems": shape[0], "maxItems": shape[0]}
    return {"type": "array", "items": inner, **length}


def _of_dtype(dtype: str) -> Schema:
    if dtype.startswith(("int", "uint")):
        return _BY_TYPE["integer"] if dtype == "int32" else _BY_TYPE["long"]
    return {"float64": _BY_TYPE["double"], "float32": _BY_TYPE["float"], "bool": _BY_TYPE["boolean"]}.get(dtype, {})


def _object(properties: Mapping[str, Schema], *, optional: Sequence[str] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    described: dict[str, object] = {"type": "object", "properties": properties}
    return {**described, "required": required} if required else described
