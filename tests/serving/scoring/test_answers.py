import math
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest

from ultramarine_serving.scoring.answers import NotJson, encode, rows_of


class Colour(Enum):
    RED = "red"


class Array:
    """Like a numpy array or scalar: it can say itself as a list."""

    def __init__(self, values: Any) -> None:
        self.values = values

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
    assert rows_of(Array([1, 2, 3]), [2, 0, 1]) == [[1, 2], [], [3]]


def test_predictions_that_are_not_one_a_row_are_refused():
    with pytest.raises(NotJson, match="2 predictions for 3 rows"):
        rows_of([1, 2], [1, 2])
