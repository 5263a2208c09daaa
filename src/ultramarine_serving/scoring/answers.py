"""What a model or a script returned, as the bytes of an answer.

Pure, and free of numpy: values are told by what they can do.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import accumulate
from typing import Any, cast

_DEPTH_MAX = 200
_NUMBERS = "iuf"  # kinds of numpy's types
_NUMERALS = re.compile(r"[-+0-9.e,\[\]]*")
_MISSING = frozenset({"NAType", "NaTType"})  # pandas' words for a missing value


class NotJson(Exception):
    """A returned value has no JSON form; the message names its type."""


def encode(value: object) -> bytes:
    """JSON, UTF-8. NaN and infinities become null, for JSON has no words for them.

    numpy scalars and arrays, pandas frames (as records), series and timestamps are taken; so are bytes (as base64),
    dates, decimals and sets.

    Raises:
        NotJson: something inside it has no JSON form.
    """
    try:
        # Quick for what is plain already. The slow way below costs about ten times as much.
        return json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, TypeError, RecursionError):
        return json.dumps(_clean(value, depth=0), allow_nan=False, separators=(",", ":")).encode()


def bodies_of(predictions: object, counts: Sequence[int]) -> list[bytes]:
    """The predictions of one call as the JSON of each of its requests, in order. `counts` are rows per request.

    A request that had the call for itself gets all, whatever it is.

    Raises:
        NotJson: there is not one prediction for each row, or something has no JSON form.
    """
    texts = _texts_of_numbers(predictions)
    written = encode if texts is None else _joined
    if len(counts) == 1:
        return [written(predictions if texts is None else texts)]
    listed = as_list(predictions) if texts is None else texts
    _check_count(len(listed), counts)
    return [written(listed[place]) for place in _places(counts)]


def slices_of(predictions: object, counts: Sequence[int]) -> list[object]:
    """As `bodies_of`, but the predictions stay what they are: parts of an array, a frame or a list.

    Raises:
        NotJson: there is not one prediction for each row.
    """
    whole: Any = predictions
    if len(counts) == 1:
        return [whole]
    if not (hasattr(whole, "shape") and len(whole.shape) > 0):
        whole = as_list(predictions)
    _check_count(len(whole), counts)
    by_row = getattr(whole, "iloc", whole)
    return [by_row[place] for place in _places(counts)]


def _joined(texts: Any) -> bytes:
    return f"[{','.join(texts)}]".encode()


def _check_count(given: int, counts: Sequence[int]) -> None:
    if given != sum(counts):
        raise NotJson(f"the model gave {given} predictions for {sum(counts)} rows")


def _places(counts: Sequence[int]) -> list[slice]:
    """Where the rows of each request are."""
    return [slice(end - count, end) for end, count in zip(accumulate(counts), counts)]


def _texts_of_numbers(predictions: Any) -> list[str] | None:
    """The rows of an array of numbers, each as JSON; None for whatever else, and where one is not finite.

    Python writes lists of numbers as JSON does, but for the blanks: one call for a whole batch.
    """
    if getattr(getattr(predictions, "dtype", None), "kind", "O") not in _NUMBERS or predictions.ndim not in (1, 2):
        return None
    listed = predictions.tolist()
    written = repr(listed).replace(" ", "")
    if not listed or _NUMERALS.fullmatch(written) is None:
        return None
    if predictions.ndim == 1:
        return written[1:-1].split(",")
    return [f"[{row}]" for row in written[2:-2].split("],[")]


def as_list(predictions: object) -> list[object]:
    """Predictions as a plain list with one entry a row: an array, a series, a frame (records) or a list."""
    given = type(predictions).__name__
    listed = cast(Any, predictions) if isinstance(predictions, (list, tuple)) else _plain(predictions)
    if not isinstance(listed, (list, tuple)):
        raise NotJson(f"the model gave a {given}, not one prediction a row")
    return list(cast(Sequence[object], listed))


def _plain(value: object) -> object:
    """One step towards plain JSON types."""
    if type(value).__name__ in _MISSING:  # first, for NaT says it is a datetime
        return None
    described: Any = value
    if hasattr(described, "to_dict") and hasattr(described, "columns"):
        return described.to_dict(orient="records")
    if hasattr(described, "tolist"):
        return described.tolist()
    for kinds, convert in _CONVERSIONS:
        if isinstance(value, kinds):
            return convert(value)
    raise NotJson(f"a {type(value).__name__} has no JSON form")


def _clean(value: object, *, depth: int) -> object:
    if depth > _DEPTH_MAX:
        raise NotJson(f"the value is nested deeper than {_DEPTH_MAX} levels, or contains itself")
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        pairs = cast(dict[object, object], value).items()
        return {_key(key): _clean(item, depth=depth + 1) for key, item in pairs}
    if isinstance(value, (list, tuple)):
        return [_clean(item, depth=depth + 1) for item in cast(Iterable[object], value)]
    return _clean(_plain(value), depth=depth + 1)


def _key(key: object) -> str | int | float | bool | None:
    if key is None or isinstance(key, (str, int, float)):
        return key
    if hasattr(key, "tolist"):
        return cast("str | int | float", cast(Any, key).tolist())
    return str(key)


# The first that fits is used.
_CONVERSIONS: Sequence[tuple[tuple[type, ...], Callable[[Any], object]]] = (
    ((datetime, date, time), lambda value: value.isoformat()),
    ((timedelta,), lambda value: value.total_seconds()),
    ((bytes, bytearray, memoryview), lambda value: base64.b64encode(value).decode("ascii")),
    ((Decimal,), float),
    ((Enum,), lambda value: value.value),
    ((Mapping,), dict),
    ((set, frozenset), list),
)
