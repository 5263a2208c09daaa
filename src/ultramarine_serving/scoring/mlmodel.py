"""What an `MLmodel` file says: the flavours a model was saved in and the inputs it takes.

Pure: the file is read elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

PYTHON_FUNCTION = "python_function"
# Read in this order when no flavour is named; the first that the file has is used.
KNOWN_FLAVORS = ("sklearn", "xgboost", "lightgbm", "onnx")


_NUMPY_WORDS = {"double": "float64", "float": "float32", "long": "int64", "integer": "int32", "boolean": "bool"}


class MLModelError(Exception):
    """An `MLmodel` file says something that cannot be served; the message says what to do."""


@dataclass(frozen=True)
class Column:
    """One named column of the input table. `type` is MLflow's word: double, float, long, integer, boolean, string …"""

    name: str
    type: str
    is_required: bool = True


@dataclass(frozen=True)
class Tensor:
    """One input array. `dtype` is numpy's word, -1 in `shape` is any length; `name` is empty for the only input."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """Inputs are either columns or tensors; all is empty when the model was saved without a signature."""

    columns: tuple[Column, ...] = ()
    tensors: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class MLModel:
    """One `MLmodel` file."""

    flavors: Mapping[str, Mapping[str, object]]
    signature: Signature = field(default_factory=Signature)

    def flavor_to_load(self, wanted: str) -> str:
        """The flavour to load: the wanted one, or for `auto` the first that is known here, else `python_function`.

        A model saved with a predict function of its own choosing (`predict_proba`) keeps it, since every loader reads
        that from `python_function`.

        Raises:
            MLModelError: the file has no such flavour, or none that can be served.
        """
        if wanted != "auto":
            if wanted in self.flavors:
                return wanted
            raise MLModelError(f"This model has no flavour {wanted!r}. It has: {_listed(self.flavors)}.")
        for name in (*KNOWN_FLAVORS, PYTHON_FUNCTION):
            if name in self.flavors:
                return name
        raise MLModelError(
            f"This model has only the flavours {_listed(self.flavors)}, none of which can be served. "
            f"Save it with the flavour {PYTHON_FUNCTION}, or deploy it with a score.py."
        )


def parse(document: object) -> MLModel:
    """Read the document that an `MLmodel` file holds (YAML, already parsed).

    Raises:
        MLModelError: it is not what MLflow writes.
    """
    if not isinstance(document, dict):
        raise MLModelError("The MLmodel file is not a mapping. Save the model again with mlflow.")
    fields = cast(Mapping[str, object], document)
    flavors = fields.get("flavors")
    if not isinstance(flavors, dict) or not flavors:
        raise MLModelError("The MLmodel file names no flavors. Save the model again with mlflow.")
    known = {name: _mapping(settings) for name, settings in cast(Mapping[str, object], flavors).items()}
    return MLModel(flavors=known, signature=_signature(fields.get("signature")))


def _signature(written: object) -> Signature:
    inputs = _entries(written, "inputs")
    outputs = tuple(_output(entry) for entry in _entries(written, "outputs"))
    if any(entry.get("type") == "tensor" for entry in inputs):
        return Signature(tensors=tuple(_tensor(entry) for entry in inputs), outputs=outputs)
    if not all("name" in entry for entry in inputs):
        # Unnamed columns say only how many there are, which the model checks by itself.
        return Signature(outputs=outputs)
    return Signature(columns=tuple(_column(entry) for entry in inputs), outputs=outputs)


def _entries(signature: object, side: str) -> list[Mapping[str, object]]:
    """The inputs or outputs. MLflow keeps them as JSON text inside the YAML."""
    written = _mapping(signature).get(side)
    if not written:
        return []
    try:
        entries: object = json.loads(written) if isinstance(written, str) else written
    except ValueError as error:
        raise MLModelError(f"The signature's {side} in the MLmodel file are not JSON: {error}.") from error
    if not isinstance(entries, list):
        raise MLModelError(f"The signature's {side} in the MLmodel file are not a list.")
    return [_mapping(entry) for entry in cast(Sequence[object], entries)]


def _output(entry: Mapping[str, object]) -> Tensor:
    if entry.get("type") == "tensor":
        return _tensor(entry)
    dtype = _NUMPY_WORDS.get(str(entry.get("type", "")), "object")
    return Tensor(name=str(entry.get("name", "")), dtype=dtype, shape=(-1,))


def _column(entry: Mapping[str, object]) -> Column:
    is_required = bool(entry.get("required", not entry.get("optional", False)))
    return Column(name=str(entry["name"]), type=str(entry.get("type", "")), is_required=is_required)


def _tensor(entry: Mapping[str, object]) -> Tensor:
    spec = _mapping(entry.get("tensor-spec"))
    shape = cast(Sequence[int], spec.get("shape") or [])
    return Tensor(name=str(entry.get("name", "")), dtype=str(spec.get("dtype", "float64")), shape=tuple(shape))


def _mapping(value: object) -> Mapping[str, object]:
    return cast(Mapping[str, object], value) if isinstance(value, dict) else {}


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(sorted(names))
