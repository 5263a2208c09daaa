"""scikit-learn's trees as ONNX operators that give the same figures to the last bit.

They compare a row in single precision with thresholds in double, and add up the trees in their order, in double. What
the usual converters write does neither: it sums in single precision, and a tie of the vote then falls otherwise.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from .onnx_graph import Graph, NotExportable, tensor

numpy: Any = importlib.import_module("numpy")

NODES_MAX = 2_000_000  #: of all trees; about 100 bytes each in the file, and some hundred while it is made
_SUM, _NONE, _LESS_OR_EQUAL = 1, 0, 0  # words of TreeEnsemble


@dataclass(frozen=True)
class _Planted:
    """A tree, what each of its nodes says by target, and for which targets it is written."""

    tree: Any
    values: Any
    targets: Sequence[int | None]  # None: each leaf for the one that it speaks of


def average(graph: Graph, rows: str, trees: Sequence[Any], *, of_classes: bool) -> str:
    """The mean over the trees: probabilities where they are classifiers, otherwise values.

    Raises:
        NotExportable: they are too large together.
    """
    planted: list[_Planted] = []
    for tree in trees:
        values = _leaf_values(tree, of_classes=of_classes)
        copies = _copies(values[tree.children_left == -1], of_classes=of_classes)
        planted.append(_Planted(tree, values, copies))
    total = _sum(graph, rows, planted)
    return total if len(trees) == 1 else graph.add("Div", total, graph.double([len(trees)]))


def boosted(graph: Graph, rows: str, stages: Any, *, rate: float, start: Any) -> str:
    """What trees that were trained one after the other add to a start: an array of stages by targets.

    Raises:
        NotExportable: they are too large together.
    """
    leaf, count = SimpleNamespace(children_left=numpy.array([-1]), node_count=1), len(start)
    # The start is added first, as scikit-learn does, so that sums are rounded alike.
    planted = [_Planted(leaf, _only(numpy.array([value]), at, count), (at,)) for at, value in enumerate(start)]
    for stage in stages:
        for at, one in enumerate(stage):
            planted.append(_Planted(one.tree_, _only(rate * one.tree_.value[:, 0, 0], at, count), (at,)))
    return _sum(graph, rows, planted)


def _only(values: Any, target: int, count: int) -> Any:
    """Values of one target, beside nothing for the others."""
    made = numpy.zeros((len(values), count))
    made[:, target] = values
    return made


def _sum(graph: Graph, rows: str, planted: Sequence[_Planted]) -> str:
    narrow = graph.cast(graph.cast(rows, "FLOAT"), "DOUBLE")  # as scikit-learn rounds what it compares
    return graph.add("TreeEnsemble", narrow, domain="ai.onnx.ml", **_attributes(planted))


def _attributes(planted: Sequence[_Planted]) -> dict[str, Any]:
    size = sum(one.tree.node_count * len(one.targets) for one in planted)
    if size > NODES_MAX:
        raise NotExportable(f"its trees have {size:,} nodes in ONNX, more than {NODES_MAX:,}")
    parts: dict[str, list[Any]] = {name: [] for name in _PARTS}
    roots: list[int] = []
    nodes = ends = 0
    for one in planted:
        for target in one.targets:
            roots.append(nodes)
            written = _one_tree(one.tree, one.values, target, at=(nodes, ends))
            for name, array in written.items():
                parts[name].append(array)
            nodes += len(written["features"])
            ends += len(written["weights"])
    whole = {name: numpy.concatenate(arrays) for name, arrays in parts.items()}
    return {
        "aggregate_function": _SUM,
        "post_transform": _NONE,
        "n_targets": planted[0].values.shape[1],
        "tree_roots": roots,
        "nodes_featureids": whole["features"].tolist(),
        "nodes_splits": tensor(whole["splits"], "float64"),
        "nodes_modes": tensor(numpy.full(nodes, _LESS_OR_EQUAL), "uint8"),
        "nodes_truenodeids": whole["lefts"].tolist(),
        "nodes_falsenodeids": whole["rights"].tolist(),
        "nodes_trueleafs": whole["left_ends"].tolist(),
        "nodes_falseleafs": whole["right_ends"].tolist(),
        "nodes_missing_value_tracks_true": whole["missing"].tolist(),
        "leaf_targetids": whole["targets"].tolist(),
        "leaf_weights": tensor(whole["weights"], "float64"),
    }


_PARTS = ("features", "splits", "lefts", "rights", "left_ends", "right_ends", "missing", "targets", "weights")


def _leaf_values(tree: Any, *, of_classes: bool) -> Any:
    """What each node says, by class or by output."""
    if not of_classes:
        return tree.value[:, :, 0]
    values = tree.value[:, 0, :]
    sums = values.sum(axis=1, keepdims=True)
    return values if numpy.allclose(sums, 1) else values / sums  # before scikit-learn 1.3 they were counts


def _copies(values: Any, *, of_classes: bool) -> Sequence[int | None]:
    """In ONNX a leaf speaks of one class: a tree with mixed leaves is written once for each; None: for all at once."""
    if of_classes and bool(((values != 0).sum(axis=1) <= 1).all()):
        return (None,)
    return tuple(range(values.shape[1]))


def _one_tree(tree: Any, values: Any, target: int | None, *, at: tuple[int, int]) -> dict[str, Any]:
    nodes, ends = at
    is_end = tree.children_left == -1
    inner, last = numpy.flatnonzero(~is_end), numpy.flatnonzero(is_end)
    number = numpy.empty(len(is_end), dtype="int64")
    number[inner] = nodes + numpy.arange(len(inner))
    number[last] = ends + numpy.arange(len(last))
    said = values[last]
    targets = said.argmax(axis=1) if target is None else numpy.full(len(last), target)
    leaves = {"targets": targets, "weights": said[numpy.arange(len(last)), targets]}
    if not len(inner):  # one leaf and nothing to ask: ONNX wants a question, so both answers lead to it
        asked = {"features": [0], "splits": [0.0], "lefts": [ends], "rights": [ends]}
        return {**asked, "left_ends": [1], "right_ends": [1], "missing": [0], **leaves}
    left, right = tree.children_left[inner], tree.children_right[inner]
    missing = getattr(tree, "missing_go_to_left", numpy.zeros(len(is_end)))  # from scikit-learn 1.3 on
    return {
        "features": tree.feature[inner],
        "splits": tree.threshold[inner],
        "lefts": number[left],
        "rights": number[right],
        "left_ends": is_end[left].astype("int64"),
        "right_ends": is_end[right].astype("int64"),
        "missing": missing[inner].astype("int64"),
        **leaves,
    }
