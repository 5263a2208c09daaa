"""The requests and answers of `/infer`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ultramarine_serving.http.server import Response

from ..answers import encode
from ..bodies import BadBody, document
from ..scorer import JSON
from . import tensors

HEADER_LENGTH = b"inference-header-content-length"
_DIMENSION_MAX = 2**63
_DIGITS_MAX = 18
_OCTETS = b"application/octet-stream"


@dataclass(frozen=True)
class Wanted:
    """An output that is asked for."""

    name: str
    is_binary: bool


@dataclass(frozen=True)
class Inference:
    """One request. `wanted` is None when all outputs are."""

    id: str | None
    inputs: Mapping[str, Any]  # arrays
    wanted: Sequence[Wanted] | None
    is_binary: bool  # of the outputs for which nothing is said
    params: Mapping[str, object]  # for the model


def read(body: bytes, header_length: bytes) -> Inference:
    """Read one request. `header_length` is the header of the binary extension, empty when it was not sent.

    Raises:
        BadBody: it is not what the protocol says.
    """
    size = _header_length(header_length, len(body))
    fields = _object(document(body[:size]), "The body")
    binary = memoryview(body)[size:]
    given = _list(fields.get("inputs"), "inputs")
    if not given:
        raise BadBody("inputs is empty.")
    inputs: dict[str, Any] = {}
    for one in given:
        described = _object(one, "An input")
        name = _name(described)
        if name in inputs:
            raise BadBody(f"Input {name!r} is there twice.")
        try:
            inputs[name], binary = _tensor(described, binary)
        except BadBody as error:
            raise BadBody(f"Input {name!r}: {error}") from error
    if len(binary):
        raise BadBody(f"{len(binary)} bytes lie behind the last input.")
    params = dict(_parameters(fields))
    is_binary = _flag(params.pop("binary_data_output", False), "binary_data_output")
    return Inference(
        id=_id(fields.get("id")),
        inputs=inputs,
        wanted=_wanted(fields.get("outputs"), is_binary=is_binary),
        is_binary=is_binary,
        params=params,
    )


def answer(inference: Inference, outputs: Mapping[str, Any], *, model: str, version: str) -> Response:
    """The answer with the outputs that were asked for.

    Raises:
        BadBody: one of them is none of the model's.
    """
    wanted = inference.wanted
    if wanted is None:
        wanted = [Wanted(name=name, is_binary=inference.is_binary) for name in outputs]
    described: list[dict[str, object]] = []
    binary: list[bytes] = []
    for one in wanted:
        if one.name not in outputs:
            raise BadBody(f"The model has no output {one.name!r}. It has: {', '.join(outputs)}.")
        array = outputs[one.name]
        shown: dict[str, object] = {"name": one.name, "datatype": tensors.datatype_of(array.dtype)}
        shown["shape"] = list(array.shape)
        if one.is_binary:
            binary.append(tensors.to_bytes(array))
            shown["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            shown["data"] = tensors.to_json(array)
        described.append(shown)
    document: dict[str, object] = {"model_name": model, "model_version": version}
    if inference.id is not None:
        document["id"] = inference.id
    document["outputs"] = described
    head = encode(document)
    if not binary:
        return Response(200, JSON, head)
    headers = [(b"content-type", _OCTETS), (HEADER_LENGTH, b"%d" % len(head))]
    return Response(200, headers, b"".join([head, *binary]))


def _header_length(written: bytes, size: int) -> int:
    if not written:
        return size
    if not written.isdigit() or len(written) > _DIGITS_MAX or int(written) > size:
        raise BadBody(f"Inference-Header-Content-Length is {written.decode('latin-1')!r}, the body has {size} bytes.")
    return int(written)


def _tensor(described: Mapping[str, object], binary: memoryview) -> tuple[Any, memoryview]:
    """An input's array, and the bytes that are left for the others."""
    datatype = described.get("datatype")
    if datatype != tensors.BYTES and datatype not in tensors.NUMERIC:
        raise BadBody(f"The datatype {datatype!r} is not known: {', '.join([*tensors.NUMERIC, tensors.BYTES])}.")
    datatype = cast(str, datatype)
    shape = _shape(described.get("shape"))
    size = _parameters(described).get("binary_data_size")
    if size is None:
        if "data" not in described:
            raise BadBody("There is neither data nor binary_data_size.")
        return tensors.from_json(described["data"], datatype, shape), binary
    if "data" in described:
        raise BadBody("There are both data and binary_data_size.")
    if type(size) is not int or not 0 <= size <= len(binary):
        raise BadBody(f"binary_data_size is {size!r}, and {len(binary)} bytes are there.")
    return tensors.from_bytes(binary[:size], datatype, shape), binary[size:]


def _shape(written: object) -> list[int]:
    shape = _list(written, "shape")
    if not all(type(each) is int and 0 <= each < _DIMENSION_MAX for each in shape):
        raise BadBody("shape is no list of whole numbers.")
    return cast("list[int]", shape)


def _wanted(written: object, *, is_binary: bool) -> Sequence[Wanted] | None:
    if written is None:
        return None
    found: list[Wanted] = []
    for one in _list(written, "outputs"):
        described = _object(one, "An output")
        flag = _parameters(described).get("binary_data", is_binary)
        found.append(Wanted(name=_name(described), is_binary=_flag(flag, "binary_data")))
    return found or None


def _id(written: object) -> str | None:
    if written is not None and not isinstance(written, str):
        raise BadBody("id is no text.")
    return written


def _name(described: Mapping[str, object]) -> str:
    name = described.get("name")
    if not isinstance(name, str) or not name:
        raise BadBody("An input or output has no name.")
    return name


def _parameters(described: Mapping[str, object]) -> Mapping[str, object]:
    written = described.get("parameters")
    return {} if written is None else _object(written, "parameters")


def _flag(written: object, name: str) -> bool:
    if not isinstance(written, bool):
        raise BadBody(f"{name} is neither true nor false.")
    return written


def _object(written: object, name: str) -> Mapping[str, object]:
    if not isinstance(written, dict):
        raise BadBody(f"{name} is no JSON object.")
    return cast("dict[str, object]", written)


def _list(written: object, name: str) -> list[object]:
    if not isinstance(written, list):
        raise BadBody(f"{name} is no list.")
    return cast("list[object]", written)
