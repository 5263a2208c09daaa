import json
import math
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from ultramarine_serving.scoring.answers import NotJson, bodies_of, encode, slices_of


class Colour(Enum):
    RED = "red"


class Array:
    """Like a numpy array or scalar: it can say itself as a list."""

    def __init__(self, values: Any, *, kind: str = "O", ndim: int = 1) -> None:
        self.values = values
        self.dtype = SimpleNamespace(kind=kind)
        self.ndim = ndim

    def tolist(self) -> Any:
        return self.values


class NaTType(datetime):
    """Like pandas' missing time, which says it is a datetime."""


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ([1, 2.5, "ä", None, True], b'[1,2.5,"\\u00e4",null,true]'),
        ({"a": math.nan, "b": [math.inf, -math.inf, 1.0]}, b'{"a":null,"b":[null,null,1.0]}'),
        (Array([1, 2]), b"[1,2]"),
        (Array([[1.0, math.nan]]), b"[[1.0,null]]"),
        ({"x": Array(3)}, b'{"x":3}'),
        ({Array(3): "key"}, b'{"3":"key"}'),
        ((1, 2), b"[1,2]"),
        ({1}, b"[1]"),
        (b"\x00\xff", b'"AP8="'),
        (date(2026, 1, 2), b'"2026-01-02"'),
        (datetime(2026, 1, 2, tzinfo=UTC), b'"2026-01-02T00:00:00+00:00"'),
        (timedelta(seconds=1.5), b"1.5"),
        (Decimal("1.25"), b"1.25"),
        (Colour.RED, b'"red"'),
        (OrderedDict[str, int](a=1), b'{"a":1}'),
        (NaTType(2026, 1, 1), b"null"),
    ],
)
def test_what_scripts_return_has_a_json_form(value: object, written: bytes):
    assert encode(value) == written


def test_what_has_no_json_form_is_named():
    with pytest.raises(NotJson, match="a object has no JSON form"):
        encode({"a": [object()]})


def test_a_value_that_contains_itself_is_refused():
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(NotJson, match="contains itself"):
        encode(endless)


def test_predictions_of_a_batch_go_back_to_their_requests():
    assert bodies_of(Array([1, 2, 3]), [2, 0, 1]) == [b"[1,2]", b"[]", b"[3]"]
    assert slices_of([1, 2, 3], [2, 0, 1]) == [[1, 2], [], [3]]


@pytest.mark.parametrize(
    "predictions",
    [
        Array([1, -2, 3], kind="i"),
        Array([0.1, 1e-300, -1.7976931348623157e308], kind="f"),
        Array([2.5, math.nan, math.inf], kind="f"),
        Array([[0.25, 0.75], [1e22, 5e-324], [0.0, -0.0]], kind="f", ndim=2),
        Array([[], [], []], kind="f", ndim=2),
        Array([[0.5], [math.nan], [1.5]], kind="f", ndim=2),
        Array([[[1], [2]], [[3], [4]], [[5], [6]]], kind="i", ndim=3),
        Array([True, False, True], kind="b"),
        Array(["a", "b,c", "]"], kind="U"),
        [{"a": 1}, {"a": 2}, None],
    ],
)
def test_what_a_batch_answers_is_the_json_of_each_request_alone(predictions: Any):
    listed: Any = predictions.tolist() if isinstance(predictions, Array) else predictions
    parts = [listed[:1], listed[1:1], listed[1:]]
    assert bodies_of(predictions, [1, 0, 2]) == [encode(part) for part in parts]
    assert bodies_of(predictions, [3]) == [encode(predictions)]


def test_numbers_of_a_batch_read_back_exactly():
    dice = Random(0)
    numbers = [dice.uniform(-1, 1) * 10.0 ** dice.randint(-300, 300) for _ in range(1000)]
    assert [json.loads(body) for body in bodies_of(Array(numbers, kind="f"), [1] * 1000)] == [[one] for one in numbers]


def test_a_request_that_is_alone_gets_all_that_the_model_says():
    assert bodies_of({"scores": [1, 2]}, [1]) == [b'{"scores":[1,2]}']
    assert bodies_of(Array([1, 2, 3], kind="i"), [1]) == [b"[1,2,3]"]
    assert slices_of("text", [1]) == ["text"]


@pytest.mark.parametrize("predictions", [[1, 2], Array([1, 2], kind="i"), Array([[1.5], [2.5]], kind="f", ndim=2)])
def test_predictions_that_are_not_one_a_row_are_refused(predictions: Any):
    for parts in (bodies_of, slices_of):
        with pytest.raises(NotJson, match="2 predictions for 3 rows"):
            parts(predictions, [1, 2])
