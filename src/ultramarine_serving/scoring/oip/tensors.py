"""Tensors of the protocol as numpy arrays, and back: as JSON, and as the bytes of its binary extension."""

from __future__ import annotations

import importlib
import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from ..answers import encode
from ..bodies import BadBody

numpy: Any = importlib.import_module("numpy")  # of the model's environment

BYTES = "BYTES"
#: Datatypes and how numpy writes them: little-endian, as the binary extension does.
NUMERIC: Mapping[str, str] = {
    "BOOL": "|b1",
    "INT8": "|i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "|u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_BY_NUMPY = {numpy.dtype(written).newbyteorder("="): name for name, written in NUMERIC.items()}
_LENGTH = struct.Struct("<I")


def datatype_of(dtype: Any) -> str:
    """The protocol's word for numpy's type: BYTES for whatever is no number."""
    return _BY_NUMPY.get(numpy.dtype(dtype).newbyteorder("="), BYTES)


def from_json(data: object, datatype: str, shape: Sequence[int]) -> Any:
    """The array that nested or flat JSON lists say.

    Raises:
        BadBody: an element is not of the datatype, or there are too few or too many.
    """
    if not isinstance(data, list):
        raise BadBody("data is no list.")
    try:
        # numpy makes floats of whole numbers when they are both over and under the middle of UINT64.
        is_exact = datatype in (BYTES, "UINT64")
        made = numpy.array(data, dtype=object) if is_exact else numpy.asarray(data)
    except ValueError as error:
        raise BadBody(f"data is ragged: {error}.") from error
    flat = made.reshape(-1)
    if datatype == BYTES:
        _check_texts(flat)
        return shaped(flat, shape)
    return shaped(_numbers(flat, datatype), shape)


def from_bytes(data: memoryview, datatype: str, shape: Sequence[int]) -> Any:
    """The array that bytes of the binary extension say.

    Raises:
        BadBody: they are not as many as the shape says.
    """
    if datatype == BYTES:
        return shaped(_texts(data), shape)
    dtype = numpy.dtype(NUMERIC[datatype])
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise BadBody(f"{len(data)} bytes are no {datatype} of the shape {list(shape)}.")
    if datatype == "BOOL":
        return shaped(numpy.frombuffer(data, dtype="u1").astype(bool), shape)  # a byte that is neither 0 nor 1
    return shaped(numpy.frombuffer(data, dtype=dtype), shape)


def shaped(flat: Any, shape: Sequence[int]) -> Any:
    """A flat array in its shape.

    Raises:
        BadBody: it has too few or too many elements.
    """
    if len(flat) != math.prod(shape):
        raise BadBody(f"There are {len(flat)} elements where the shape {list(shape)} has {math.prod(shape)}.")
    try:
        return flat.reshape(shape)
    except ValueError as error:  # more dimensions, or longer ones, than numpy has
        raise BadBody(f"The shape {list(shape)[:70]} cannot be made: {error}.") from error


def to_json(array: Any) -> list[object]:
    """The elements in row-major order. What is no number becomes text."""
    flat = numpy.asarray(array).reshape(-1)
    if datatype_of(flat.dtype) != BYTES:
        return flat.tolist()
    return [_text(element) for element in flat.tolist()]


def to_bytes(array: Any) -> bytes:
    """The elements as the binary extension writes them."""
    flat = numpy.asarray(array).reshape(-1)
    datatype = datatype_of(flat.dtype)
    if datatype != BYTES:
        return flat.astype(NUMERIC[datatype], copy=False).tobytes()
    parts: list[bytes] = []
    for element in flat.tolist():
        content = element if isinstance(element, bytes) else _text(element).encode()
        parts += (_LENGTH.pack(len(content)), content)
    return b"".join(parts)


def named(predictions: Any, default: str) -> dict[str, Any]:
    """What a model returned as arrays by name; the only one is called `default`.

    A frame has one for each column, records one for each of their fields.
    """
    if isinstance(predictions, dict):
        return {str(name): numpy.asarray(value) for name, value in cast("dict[object, Any]", predictions).items()}
    if hasattr(predictions, "columns") and hasattr(predictions, "to_numpy"):
        return {str(name): predictions[name].to_numpy() for name in predictions.columns}
    if isinstance(predictions, (list, tuple)):
        listed = cast("Sequence[Any]", predictions)
        if fields := _fields(listed):
            return {name: _array([record[name] for record in listed]) for name in fields}
        return {default: _array(listed)}
    return {default: numpy.asarray(predictions)}


def _fields(records: Sequence[Any]) -> list[str]:
    """The fields that all records have; none where they differ, or are no records."""
    first = records[0] if records else None
    if not isinstance(first, dict) or not first:
        return []
    fields = list(cast("dict[str, object]", first))
    return fields if all(isinstance(record, dict) and [*record] == fields for record in records) else []


def _array(values: Iterable[Any]) -> Any:
    listed = list(values)
    try:
        return numpy.asarray(listed)
    except ValueError:  # ragged: each row is a text of its own
        return numpy.asarray([encode(value).decode() for value in listed])


def _numbers(flat: Any, datatype: str) -> Any:
    dtype = numpy.dtype(NUMERIC[datatype])
    kind = flat.dtype.kind
    if flat.size == 0:
        return flat.astype(dtype)
    if datatype == "BOOL":
        if kind != "b":
            raise BadBody("data holds what is neither true nor false, and the datatype is BOOL.")
        return flat
    if datatype.startswith("FP"):
        return _floats(flat, datatype)
    if kind not in "iu" and not all(type(each) is int for each in flat):
        raise BadBody(f"data holds what is no whole number that fits, and the datatype is {datatype}.")
    limits = numpy.iinfo(dtype)
    if int(flat.min()) < limits.min or int(flat.max()) > limits.max:
        raise BadBody(f"data holds a number outside {limits.min} to {limits.max}, and the datatype is {datatype}.")
    return flat.astype(dtype)


def _floats(flat: Any, datatype: str) -> Any:
    if flat.dtype.kind == "O" and all(each is None or type(each) in (int, float) for each in flat):
        try:
            flat = flat.astype("f8")  # null is NaN, which JSON has no word for
        except OverflowError as error:
            raise BadBody(f"data holds a number that no {datatype} can be.") from error
    if flat.dtype.kind not in "iuf":
        raise BadBody(f"data holds what is no number, and the datatype is {datatype}.")
    return flat.astype(NUMERIC[datatype])


def _check_texts(flat: Any) -> None:
    for element in flat:
        if not isinstance(element, str):
            raise BadBody(f"data holds {json.dumps(element)[:50]}, which is no text, and the datatype is BYTES.")


def _texts(data: memoryview) -> Any:
    """Elements with their lengths before them. Those that are UTF-8 are text, as most models want it."""
    found: list[object] = []
    place = 0
    while place < len(data):
        begin = place + _LENGTH.size
        end = begin + (_LENGTH.unpack_from(data, place)[0] if begin <= len(data) else 0)
        if begin > len(data) or end > len(data):
            raise BadBody("The bytes of a BYTES tensor end within an element.")
        content = bytes(data[begin:end])
        try:
            found.append(content.decode())
        except UnicodeDecodeError:
            found.append(content)
        place = end
    made = numpy.empty(len(found), dtype=object)
    made[:] = found
    return made


def _text(element: object) -> str:
    if isinstance(element, str):
        return element
    if isinstance(element, bytes):
        return element.decode("utf-8", "replace")
    return encode(element).decode().strip('"')
