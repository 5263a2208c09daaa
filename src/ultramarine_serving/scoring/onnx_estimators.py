"""Which scikit-learn estimators have an ONNX form that answers alike, and that form.

Only those whose arithmetic is known are here, written as scikit-learn does it, in double precision: trees and
scalers agree to the last bit, products of matrices to about 1e-15. Comparing a model with its ONNX form on some rows
could not show that; it is done all the same, by `exporting`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from . import onnx_trees
from .onnx_graph import INPUT, Graph, NotExportable

numpy: Any = importlib.import_module("numpy")


@dataclass(frozen=True)
class Exported:
    """The ONNX form. With `classes` its answers are positions in them, otherwise they are what the model answers."""

    content: bytes
    classes: Any | None


def export(trained: Any, wanted: str, *, is_single: bool) -> Exported:
    """The ONNX form of an estimator or pipeline. `wanted`: predict or predict_proba; `is_single`: rows are float32.

    Raises:
        NotExportable: there is none that answers alike.
    """
    *before, last = _steps(trained)
    name = _name(last)
    found = _LAST.get(name)
    if found is None:
        raise NotExportable(f"a {name} has no ONNX form here that answers alike; known are {', '.join(_LAST)}")
    if is_single and (before or found not in (_tree, _forest, _boosted)):
        raise NotExportable("its columns are in single precision, in which only trees compute alike")
    if wanted not in ("predict", "predict_proba"):
        raise NotExportable(f"{wanted}() has no ONNX form here")
    graph, rows = Graph(), INPUT
    for step in before:
        if _name(step) not in _BEFORE:
            raise NotExportable(f"a {_name(step)} has no ONNX form here that answers alike")
        rows = _BEFORE[_name(step)](graph, rows, step)
    answers, classes = found(graph, rows, last, wanted)
    return Exported(content=graph.finish(answers, columns=int((before or [last])[0].n_features_in_)), classes=classes)


def _steps(trained: Any) -> Sequence[Any]:
    if _name(trained) != "Pipeline":
        return [trained]
    found: list[Any] = []
    for _, step in trained.steps:
        found += [] if step is None or step == "passthrough" else _steps(step)
    return found


def _name(estimator: Any) -> str:
    """Its class, where that is scikit-learn's own: somebody's own class may do anything."""
    kind = cast("type[object]", type(estimator))
    return kind.__name__ if kind.__module__.startswith("sklearn.") else f"{kind.__module__}.{kind.__name__}"


def _standard(graph: Graph, rows: str, scaler: Any) -> str:
    if scaler.with_mean:
        rows = graph.add("Sub", rows, graph.double(scaler.mean_))
    return graph.add("Div", rows, graph.double(scaler.scale_)) if scaler.with_std else rows


def _robust(graph: Graph, rows: str, scaler: Any) -> str:
    if scaler.with_centering:
        rows = graph.add("Sub", rows, graph.double(scaler.center_))
    return graph.add("Div", rows, graph.double(scaler.scale_)) if scaler.with_scaling else rows


def _minmax(graph: Graph, rows: str, scaler: Any) -> str:
    rows = graph.add("Add", graph.add("Mul", rows, graph.double(scaler.scale_)), graph.double(scaler.min_))
    if not scaler.clip:
        return rows
    low, high = scaler.feature_range
    return graph.add("Min", graph.add("Max", rows, graph.double(low)), graph.double(high))


def _maxabs(graph: Graph, rows: str, scaler: Any) -> str:
    if getattr(scaler, "clip", False):
        raise NotExportable("its MaxAbsScaler clips")
    return graph.add("Div", rows, graph.double(scaler.scale_))


def _impute(graph: Graph, rows: str, imputer: Any) -> str:
    is_nan = isinstance(imputer.missing_values, float) and numpy.isnan(imputer.missing_values)
    if not is_nan or imputer.add_indicator or numpy.isnan(imputer.statistics_.astype("float64")).any():
        raise NotExportable("its SimpleImputer does more than filling in for NaN")
    return graph.add("Where", graph.add("IsNaN", rows), graph.double(imputer.statistics_), rows)


def _scores(graph: Graph, rows: str, model: Any) -> str:
    """One column for each row of coefficients."""
    coefficients = numpy.atleast_2d(numpy.asarray(model.coef_, dtype="float64"))
    intercept = numpy.broadcast_to(model.intercept_, coefficients.shape[:1])
    return graph.add("Add", graph.add("MatMul", rows, graph.double(coefficients.T)), graph.double(intercept))


def _linear_classifier(graph: Graph, rows: str, model: Any, wanted: str) -> tuple[str, Any]:
    scores = _scores(graph, rows, model)
    is_binary = len(model.classes_) == 2
    if model.coef_.shape[0] != (1 if is_binary else len(model.classes_)):
        raise NotExportable("it has several labels a row, or one score for each of two classes")
    if wanted == "predict":
        return (_over(graph, scores, 0.0) if is_binary else _best(graph, scores)), model.classes_
    if not _name(model).startswith("LogisticRegression"):
        raise NotExportable(f"the probabilities of a {_name(model)} have no ONNX form here")
    if is_binary and getattr(model, "multi_class", "auto") != "multinomial":
        return _two(graph, graph.add("Sigmoid", scores)), None
    if is_binary or model.solver == "liblinear" or getattr(model, "multi_class", "auto") == "ovr":
        raise NotExportable("its probabilities are of one class against the rest")
    return graph.add("Softmax", scores, axis=1), None


def _linear_regressor(graph: Graph, rows: str, model: Any, wanted: str) -> tuple[str, Any]:
    scores = _scores(graph, rows, model)
    return (_flat(graph, scores) if numpy.ndim(model.coef_) == 1 else scores), None


def _network(graph: Graph, rows: str, model: Any) -> str:
    count = len(model.coefs_)
    for layer, (weights, offsets) in enumerate(zip(model.coefs_, model.intercepts_), start=1):
        rows = graph.add("Add", graph.add("MatMul", rows, graph.double(weights)), graph.double(offsets))
        kind = model.activation if layer < count else model.out_activation_
        operator = _ACTIVATIONS.get(kind)
        if operator is None:
            raise NotExportable(f"its activation {kind} has no ONNX form here")
        rows = graph.add(operator, rows) if operator else rows
    return rows


def _network_classifier(graph: Graph, rows: str, model: Any, wanted: str) -> tuple[str, Any]:
    is_binary = len(model.classes_) == 2 and model.n_outputs_ == 1
    if not is_binary and model.out_activation_ != "softmax":
        raise NotExportable("it has several labels a row")
    found = _network(graph, rows, model)
    if wanted == "predict_proba":
        return (_two(graph, found) if is_binary else found), None
    return (_over(graph, found, 0.5) if is_binary else _best(graph, found)), model.classes_


def _network_regressor(graph: Graph, rows: str, model: Any, wanted: str) -> tuple[str, Any]:
    found = _network(graph, rows, model)
    return (_flat(graph, found) if model.n_outputs_ == 1 else found), None


def _tree(graph: Graph, rows: str, model: Any, wanted: str) -> tuple[str, Any]:
    return _of_trees(graph, rows, model, wanted, trees=[model.tree_])


def _forest(graph: Graph, rows: str, model: Any, wanted: str) -> tuple[str, Any]:
    return _of_trees(graph, rows, model, wanted, trees=[one.tree_ for one in model.estimators_])


def _of_trees(graph: Graph, rows: str, model: Any, wanted: str, *, trees: Sequence[Any]) -> tuple[str, Any]:
    is_classifier = hasattr(model, "classes_")
    if is_classifier and model.n_outputs_ != 1:
        raise NotExportable("it has several labels a row")
    found = onnx_trees.average(graph, rows, trees, of_classes=is_classifier)
    if not is_classifier:
        return (_flat(graph, found) if model.n_outputs_ == 1 else found), None
    return (found, None) if wanted == "predict_proba" else (_best(graph, found), model.classes_)


def _boosted(graph: Graph, rows: str, model: Any, wanted: str) -> tuple[str, Any]:
    raw = onnx_trees.boosted(graph, rows, model.estimators_, rate=model.learning_rate, start=_start(model))
    if not hasattr(model, "classes_"):
        return _flat(graph, raw), None
    is_binary = len(model.classes_) == 2
    if wanted == "predict":
        over = graph.add("GreaterOrEqual", raw, graph.double(0.0)) if is_binary else ""
        return (_flat(graph, graph.cast(over, "INT64")) if is_binary else _best(graph, raw)), model.classes_
    if not is_binary:
        return graph.add("Softmax", raw, axis=1), None
    scale = 2.0 if model.loss == "exponential" else 1.0
    return _two(graph, graph.add("Sigmoid", graph.add("Mul", raw, graph.double(scale)))), None


def _start(model: Any) -> Any:
    """What its trees add to, by target."""
    if not hasattr(getattr(model, "_loss", None), "link"):
        raise NotExportable("it is of a scikit-learn before 1.4, which decides a tie otherwise")
    init: Any = model.init_
    is_drawn = _name(init) == "DummyClassifier" and init.strategy not in _CONSTANT
    if is_drawn or (init != "zero" and _name(init) not in ("DummyClassifier", "DummyRegressor")):
        raise NotExportable("it begins with another model (init)")
    return model._raw_predict_init(numpy.zeros((1, model.n_features_in_), dtype="float32"))[0]  # noqa: SLF001


def _best(graph: Graph, scores: str) -> str:
    """The position of the highest, of equal ones the first: as numpy's argmax."""
    return graph.add("ArgMax", scores, axis=1, keepdims=0, select_last_index=0)


def _over(graph: Graph, scores: str, threshold: float) -> str:
    return graph.cast(_flat(graph, graph.add("Greater", scores, graph.double(threshold))), "INT64")


def _two(graph: Graph, positive: str) -> str:
    return graph.add("Concat", graph.add("Sub", graph.double(1.0), positive), positive, axis=1)


def _flat(graph: Graph, column: str) -> str:
    return graph.add("Squeeze", column, graph.axes(1))


_CONSTANT = ("prior", "most_frequent", "constant")  #: strategies that say the same of each row
_ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid", "softmax": "Softmax", "identity": ""}
_BEFORE: Mapping[str, Callable[[Graph, str, Any], str]] = {
    "StandardScaler": _standard,
    "RobustScaler": _robust,
    "MinMaxScaler": _minmax,
    "MaxAbsScaler": _maxabs,
    "SimpleImputer": _impute,
}
_LAST: Mapping[str, Callable[[Graph, str, Any, str], tuple[str, Any]]] = {
    "DecisionTreeClassifier": _tree,
    "DecisionTreeRegressor": _tree,
    "ExtraTreeClassifier": _tree,
    "ExtraTreeRegressor": _tree,
    "RandomForestClassifier": _forest,
    "RandomForestRegressor": _forest,
    "ExtraTreesClassifier": _forest,
    "ExtraTreesRegressor": _forest,
    "GradientBoostingClassifier": _boosted,
    "GradientBoostingRegressor": _boosted,
    "LogisticRegression": _linear_classifier,
    "LogisticRegressionCV": _linear_classifier,
    "RidgeClassifier": _linear_classifier,
    "SGDClassifier": _linear_classifier,
    "Perceptron": _linear_classifier,
    "LinearSVC": _linear_classifier,
    "LinearRegression": _linear_regressor,
    "Ridge": _linear_regressor,
    "Lasso": _linear_regressor,
    "ElasticNet": _linear_regressor,
    "BayesianRidge": _linear_regressor,
    "HuberRegressor": _linear_regressor,
    "SGDRegressor": _linear_regressor,
    "LinearSVR": _linear_regressor,
    "MLPClassifier": _network_classifier,
    "MLPRegressor": _network_regressor,
}
