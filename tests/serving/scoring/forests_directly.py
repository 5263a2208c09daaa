"""Calls saved forests in their own way and through their trees, in their environment: `forests_directly.py FOLDER`.

Prints, as one JSON object: by model whether its trees are asked, whether answers are equal and how many different
refusals there were; and whether a forest is left alone whose trees would answer otherwise.
"""

# The libraries are those of the models' environment, which the checker does not see.
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

import json
import pickle
import sys
import warnings
from pathlib import Path

import numpy

from ultramarine_serving.scoring import forests

warnings.simplefilter("ignore")
MODELS = (
    "cancer_forest",
    "cancer_shares",
    "digits_extra",
    "diabetes_forest",
    "diabetes_holes",
    "diabetes_two",
    "cancer_linear",
)
LARGE = 2000  # rows


def main(folder: Path) -> None:
    found = {name: _compared(folder / name) for name in MODELS}
    print(json.dumps({**found, "otherwise": _is_taken_when_trees_answer_otherwise(folder / "cancer_forest")}))


def _load(folder):
    data = json.loads((folder / "data.json").read_text())
    return pickle.loads((folder / "model.pkl").read_bytes()), data["wanted"], numpy.array(data["rows"], dtype=float)


def _compared(folder):
    model, wanted, rows = _load(folder)
    own, direct = getattr(model, wanted), forests.direct(model, wanted)
    if direct is None:
        return {"is_asked": False}
    many = numpy.resize(rows, (LARGE, rows.shape[1]))
    tables = [rows[:1], rows[:7], rows, rows * -3.5, many]
    odd = [rows[:0], rows[:2, :3], rows[0], rows[:2] * numpy.inf, rows[:2] * 1e300, numpy.full(rows[:2].shape, "x")]
    equal = [_answer(own, table) == _answer(direct, table) for table in [*tables, *odd]]
    refused = {said for table in odd if (said := _answer(direct, table)).startswith("ValueError")}
    return {"is_asked": True, "is_equal": all(equal), "refused": len(refused)}


def _answer(call, table):
    try:
        answer = call(table)
        return f"{answer.dtype} {answer.shape} {answer.tolist()}"
    except ValueError as error:
        return f"ValueError: {error}"


def _is_taken_when_trees_answer_otherwise(folder):
    model, wanted, _ = _load(folder)
    own = model._validate_X_predict
    calls = []

    def differs(rows):
        calls.append(rows)
        return own(rows) * (-1 if len(calls) > 1 else 1)  # the first call is the forest's own

    model._validate_X_predict = differs
    return forests.direct(model, wanted) is not None


main(Path(sys.argv[1]))
