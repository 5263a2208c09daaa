"""Asks the trees of a scikit-learn forest right away.

A forest's own `predict` sends each tree through joblib and checks it anew, about 30 µs a tree, of which the tree itself
needs 2. Here the forest checks the rows by its own rules, once, and its own trees answer one after the other: the same
numbers are added up in the same order, so that answers are equal to the last bit. Whether they are is tried on rows at
the trees' thresholds before it is used.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import Any

from . import probes

log = logging.getLogger("scoring")
numpy: Any = importlib.import_module("numpy")

_CLASSIFIERS = ("RandomForestClassifier", "ExtraTreesClassifier")
_REGRESSORS = ("RandomForestRegressor", "ExtraTreesRegressor")
#: Rows above which the forest's own way is taken: what it costs is little then, and it may use several cores.
_ROWS_MAX = 1024
_EVERY = 4  #: of the probes: it is tried at each start

Answer = Callable[[Any], Any]


def direct(trained: Any, wanted: str) -> Answer | None:
    """A quicker way to call `trained.wanted`; None for what is no such forest, or where answers would not be equal.

    A pipeline that ends with a forest is one too.
    """
    forest: Any = trained.steps[-1][1] if type(trained).__name__ == "Pipeline" else trained
    where, name = type(forest).__module__, type(forest).__name__
    is_known = where == "sklearn.ensemble._forest" and name in (*_CLASSIFIERS, *_REGRESSORS)
    if not is_known or getattr(forest, "n_outputs_", 0) != 1:
        return None
    own = getattr(trained, wanted)
    try:
        quick = _quick(forest, wanted)
        if quick is None:
            return None
        if forest is not trained:
            quick = _after(trained[:-1].transform, quick)
        rows = probes.rows(trained, None)[::_EVERY]
        if not _is_equal(own(rows), quick(rows)):
            return None
    except Exception as error:  # what it is made of belongs to scikit-learn, and may be another in another version
        log.info("Calls the forest's own %s, for its trees cannot be asked directly: %s", wanted, error)
        return None
    return lambda made: own(made) if len(made) > _ROWS_MAX else quick(made)


def _after(transform: Answer, answer: Answer) -> Answer:
    return lambda made: answer(transform(made))


def _quick(trained: Any, wanted: str) -> Answer | None:
    is_classifier = type(trained).__name__ in _CLASSIFIERS
    mean = _mean(trained)
    if wanted == "predict" and is_classifier:
        return lambda made: trained.classes_.take(mean(made).argmax(axis=1), axis=0)
    return mean if wanted == ("predict_proba" if is_classifier else "predict") else None


def _mean(trained: Any) -> Answer:
    """The mean over the trees: one figure a row, or one for each class."""
    check = getattr(trained, "_validate_X_predict")  # noqa: B009  # scikit-learn's own, and so are its refusals
    trees = [one.tree_.predict for one in trained.estimators_]
    classes: int | None = getattr(trained, "n_classes_", None)

    def mean(made: Any) -> Any:
        rows = check(made)
        total = numpy.zeros((len(rows), classes or 1))
        for tree in trees:
            total += tree(rows)
        total /= len(trees)
        return total if classes is not None else total[:, 0]

    return mean


def _is_equal(expected: Any, found: Any) -> bool:
    return expected.dtype == found.dtype and bool(numpy.array_equal(expected, found))
