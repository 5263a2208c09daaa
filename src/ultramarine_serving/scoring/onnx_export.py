"""From a saved scikit-learn model to a folder with its ONNX form, tried against the original."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import tempfile
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from . import frames, probes
from .bodies import Table, decode
from .mlmodel import MLModel, Signature
from .model import Estimator, describe, estimator, find_code
from .onnx_estimators import export as export_estimator
from .onnx_graph import OPSETS, NotExportable
from .onnx_model import GRAPH, REPORT, Answerer, Refusals, Report

numpy: Any = importlib.import_module("numpy")

CLOSE = 1e-5  #: how far figures may be from the original's; labels must be equal
EXAMPLE = "serving_input_example.json"
_SINGLES_MAX = 32  #: rows that are asked for one by one too
_VERSIONS = ("scikit-learn", "numpy", "onnx", "onnxruntime")


def export(model_dir: Path, into: Path) -> Report:
    """Write the folder `into`: the report, and where the ONNX form is chosen, that. What is not exportable is one."""
    begun = time.monotonic()
    described = describe(model_dir)
    find_code(model_dir, described)
    found = estimator(model_dir, described)
    try:
        content, report = _tried(model_dir, described, found)
    except NotExportable as error:
        content, report = b"", Report(is_chosen=False, why=str(error))
    versions = {name: metadata.version(name) for name in _VERSIONS}
    report = replace(report, versions=versions, opsets=OPSETS, seconds=round(time.monotonic() - begun, 3))
    _write(into, content, report)
    return report


def _tried(model_dir: Path, described: MLModel, found: Estimator) -> tuple[bytes, Report]:
    is_single = _is_single(described.signature)
    if not found.takes_arrays:
        raise NotExportable("it takes its columns by name, or has parts that are not scikit-learn's own")
    made = export_estimator(found.trained, found.wanted, is_single=is_single)
    example = _example(model_dir / EXAMPLE, described, found)
    rows = probes.rows(found.trained, example)
    original = getattr(found.trained, found.wanted)
    refusals, accepted = _refusals(original, rows)
    rows = numpy.concatenate([rows, *accepted])
    draft = Report(
        is_chosen=True,
        rows=len(rows),
        estimator=type(found.trained).__name__,
        columns=rows.shape[1],
        names=found.names,
        classes=None if made.classes is None else _plain(made.classes),
        dtype="" if made.classes is None else made.classes.dtype.str,
        sha256=hashlib.sha256(made.content).hexdigest(),
        refusals=refusals,
    )
    answer = Answerer(made.content, draft)
    difference = _compared(original(rows), answer(rows))
    alone = [answer(rows[place : place + 1]) for place in range(min(len(rows), _SINGLES_MAX))]
    difference = max(difference, _compared(original(rows[: len(alone)]), numpy.concatenate(alone)))
    return made.content, replace(draft, difference=difference)


def _is_single(signature: Signature) -> bool:
    """Whether rows come as float32. NotExportable: the signature does not say that all is numbers."""
    tensors = signature.tensors
    kinds = {column.type for column in signature.columns} or {tensor.dtype for tensor in tensors}
    numbers = frames.NUMERIC if signature.columns else {"float64", "float32", "int64", "int32"}
    if not kinds or not kinds <= set(numbers) or any(tensor.name or len(tensor.shape) != 2 for tensor in tensors):
        raise NotExportable("its signature does not say that it takes one table of numbers")
    return bool(kinds & {"float", "float32"})


def _example(path: Path, described: MLModel, found: Estimator) -> Any:
    """The rows of the input example; None where there is none."""
    if not path.is_file():
        return None
    shape = frames.Shape.of(described.signature, names=found.names, takes_arrays=True)
    given = decode(path.read_bytes()).input
    made = frames.frame(frames.align(given, shape), shape) if isinstance(given, Table) else frames.arrays(given, shape)
    return numpy.asarray(made, dtype="float64")


def _refusals(original: Any, rows: Any) -> tuple[Refusals, list[Any]]:
    """How it answers values that are no usual numbers, and those rows with such values that it takes."""
    words: dict[str, str | None] = {}
    accepted: list[Any] = []
    for name, value in (("nan", numpy.nan), ("infinite", numpy.inf), ("large", 1e39)):
        odd = numpy.repeat(rows[:1], rows.shape[1], axis=0)
        numpy.fill_diagonal(odd, value)
        try:
            original(odd)
        except ValueError as error:
            words[name] = str(error)
        else:
            words[name] = None
            accepted.append(odd)
    return Refusals(**words), accepted


def _plain(classes: Any) -> list[Any]:
    listed: list[Any] = classes.tolist()
    again = numpy.array(json.loads(json.dumps(listed, default=str)), dtype=classes.dtype)
    if not numpy.array_equal(again, classes):
        raise NotExportable("its classes are neither numbers nor texts")
    return listed


def _compared(expected: Any, found: Any) -> float:
    """The largest difference. NotExportable: it is too large, or labels differ."""
    expected = numpy.asarray(expected)
    if expected.dtype != found.dtype or expected.shape != found.shape:
        raise NotExportable(
            f"the original gives {expected.dtype} {expected.shape}, the ONNX form {found.dtype} {found.shape}"
        )
    if expected.dtype.kind != "f":
        unequal = int((expected != found).sum())
        if unequal:
            raise NotExportable(f"{unequal} of {expected.size} labels were not the original's")
        return 0.0
    with numpy.errstate(invalid="ignore"):  # infinite less infinite
        apart = numpy.abs(expected - found) / numpy.maximum(1.0, numpy.abs(expected))
    apart[(expected == found) | (numpy.isnan(expected) & numpy.isnan(found))] = 0.0
    largest = float(apart.max())
    if not largest <= CLOSE:
        raise NotExportable(f"its figures were up to {largest:.2g} from the original's, more than {CLOSE:g}")
    return largest


def _write(into: Path, content: bytes, report: Report) -> None:
    """Beside its place, then renamed: nobody sees half of it."""
    fresh = Path(tempfile.mkdtemp(dir=into.parent, prefix=".making-"))
    try:
        for name, data in ((GRAPH, content), (REPORT, report.to_json().encode())):
            with (fresh / name).open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        fresh.rename(into)
    except OSError:
        if not into.exists():  # else another was faster
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
