"""Rows on which two ways to call a model are compared: always the same for the same model and example."""

from __future__ import annotations

import importlib
from typing import Any

numpy: Any = importlib.import_module("numpy")

_ROWS = 512
_CENTRES = ("mean_", "center_", "statistics_")


def rows(trained: Any, example: Any) -> Any:
    """The example's rows, rows around them, and rows at the numbers where the model itself decides."""
    dice = numpy.random.default_rng(0)
    first = trained.steps[0][1] if hasattr(trained, "steps") else trained
    columns = int(first.n_features_in_)
    centre, width = _place(first, example, columns)
    around = centre + width * dice.standard_normal((_ROWS, columns))
    found = [around, numpy.zeros((1, columns))]
    edges = _edges(first, columns)
    if edges:
        found.append(_at_edges(around, edges, dice))
    if example is not None:
        chosen = example[dice.integers(0, len(example), _ROWS)]
        near = chosen * (1 + 1e-3 * dice.standard_normal(chosen.shape))
        mixed = numpy.where(dice.random(chosen.shape) < 0.5, chosen, around)
        found = [example, near, mixed, *found]
    return numpy.concatenate(found).astype("float64")


def _place(first: Any, example: Any, columns: int) -> tuple[Any, Any]:
    """Where its rows are about, and how far apart."""
    if example is not None and len(example):
        centre = example.mean(axis=0)
        return centre, numpy.abs(centre) + example.std(axis=0) + 1e-3
    centre = next((getattr(first, name) for name in _CENTRES if getattr(first, name, None) is not None), None)
    width = getattr(first, "scale_", None)
    return (
        numpy.zeros(columns) if centre is None else numpy.asarray(centre, dtype="float64"),
        numpy.ones(columns) if width is None else 2 * numpy.asarray(width, dtype="float64"),
    )


def _edges(first: Any, columns: int) -> dict[int, Any]:
    """The thresholds of its trees, by column."""
    estimators = getattr(first, "estimators_", [first])
    each = getattr(estimators, "flat", estimators)  # boosted ones are in rows, a column for each class
    trees = [one.tree_ for one in each if hasattr(one, "tree_")]
    if not trees:
        return {}
    features = numpy.concatenate([tree.feature for tree in trees])
    thresholds = numpy.concatenate([tree.threshold for tree in trees])
    # Leaves have no feature. Sorted once: looking for each column in each tree takes seconds where there are many.
    order = numpy.argsort(features, kind="stable")
    ends = numpy.searchsorted(features[order], numpy.arange(columns + 1))
    parts = {column: thresholds[order[ends[column] : ends[column + 1]]] for column in range(columns)}
    return {column: values for column, values in parts.items() if len(values)}


def _at_edges(around: Any, edges: dict[int, Any], dice: Any) -> Any:
    """Rows whose values are at a threshold, or the next number of single precision below or above it."""
    made = around.copy()
    for column, values in edges.items():
        chosen = dice.choice(values, len(made))
        narrow = chosen.astype("float32")
        kinds = [
            chosen,
            narrow,
            numpy.nextafter(narrow, numpy.float32(numpy.inf)),
            numpy.nextafter(narrow, -numpy.float32(numpy.inf)),
        ]
        made[:, column] = numpy.choose(dice.integers(0, len(kinds), len(made)), kinds)
    return made
