"""The ONNX form of a scikit-learn model: how it is kept in a folder, and how it answers. Needs no scikit-learn."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .frames import Shape
from .mlmodel import MLModel
from .model import Model

numpy: Any = importlib.import_module("numpy")

GRAPH, REPORT = "model.onnx", "report.json"
_SINGLE_MAX = 3.4028234663852886e38  # what fits into single precision
_DOUBLE_MAX = sys.float_info.max


class Damaged(Exception):
    """What was kept is not what was written."""


@dataclass(frozen=True)
class Refusals:
    """The words in which the original refuses such values; None: it takes them."""

    nan: str | None = None
    infinite: str | None = None
    large: str | None = None  # larger than single precision holds


@dataclass(frozen=True)
class Report:
    """How the export of one model came out. Unless it is chosen, `why` says why the original serves."""

    is_chosen: bool
    why: str = ""
    difference: float = 0.0  # the largest between the original's figures and these
    rows: int = 0  # that were compared
    estimator: str = ""
    columns: int = 0
    names: Sequence[str] = ()
    classes: Sequence[Any] | None = None  # answers are positions in them
    dtype: str = ""  # of the classes, numpy's word
    sha256: str = ""  # of the graph
    refusals: Refusals = field(default_factory=Refusals)
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    opsets: Mapping[str, int] = field(default_factory=dict[str, int])
    seconds: float = 0.0

    def to_json(self) -> str:
        """As it is kept."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """As it was kept; raises Damaged."""
        try:
            read: dict[str, Any] = json.loads(text)
            return cls(refusals=Refusals(**read.pop("refusals")), **read)
        except (ValueError, TypeError, KeyError) as error:
            raise Damaged(f"{REPORT} cannot be read: {error}") from error


def load(folder: Path, report: Report, described: MLModel) -> Model:
    """The model as it answers from its ONNX form.

    Raises:
        Damaged: the file is not the one that was written.
        ImportError: there is no onnxruntime here.
    """
    content = (folder / GRAPH).read_bytes()
    if hashlib.sha256(content).hexdigest() != report.sha256:
        raise Damaged(f"{GRAPH} is not what was written")
    answer = Answerer(content, report)
    return Model(
        flavor="sklearn (ONNX)",
        predict=lambda made, params: answer(made),
        shape=Shape.of(described.signature, names=report.names, takes_arrays=True),
        is_row_wise=True,
    )


class Answerer:
    """Calls the graph as scikit-learn's `predict` is called: the same refusals, the same types and shapes."""

    def __init__(self, content: bytes, report: Report) -> None:
        runtime: Any = importlib.import_module("onnxruntime")
        settings = runtime.SessionOptions()
        # One thread: requests share calls, and a pool of threads would cost more than it gives. It also adds up in
        # the same order as the original.
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        session = runtime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
        self._run = session.run
        self._input: str = session.get_inputs()[0].name
        self._report = report
        self._largest = _DOUBLE_MAX if report.refusals.large is None else _SINGLE_MAX
        self._classes = None if report.classes is None else numpy.array(report.classes, dtype=report.dtype)

    def __call__(self, made: Any) -> Any:
        """Predictions for a table of numbers.

        Raises:
            ValueError: it holds what the original refuses.
        """
        rows = numpy.ascontiguousarray(made, dtype="float64")
        self._check(rows)
        answers = self._run(None, {self._input: rows})[0]
        return answers if self._classes is None else self._classes[answers]

    def _check(self, rows: Any) -> None:
        report = self._report
        if rows.ndim != 2 or rows.shape[1] != report.columns:
            words = f"X has {rows.shape[1]} features" if rows.ndim == 2 else f"X has {rows.ndim} dimensions"
            raise ValueError(f"{words}, but {report.estimator} is expecting {report.columns} features as input.")
        if not len(rows):
            raise ValueError(f"Found array with 0 sample(s) while a minimum of 1 is required by {report.estimator}.")
        if numpy.abs(rows).max() <= self._largest:  # false for NaN too
            return
        refusals = report.refusals
        with numpy.errstate(over="ignore"):
            narrow = rows.astype("float32")
        for has, words in (
            (numpy.isnan(rows), refusals.nan),
            (numpy.isinf(rows), refusals.infinite),
            (numpy.isinf(narrow), refusals.large),
        ):
            if words is not None and has.any():
                raise ValueError(words)
