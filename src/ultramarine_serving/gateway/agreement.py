"""Whether two answers say the same."""

from __future__ import annotations

import json
import math
from typing import Any, cast

RELATIVE = 1e-6
JSON_MAX_BYTES = 262_144  #: longer ones are compared by their bytes: reading them would keep others waiting


def agree(one: bytes, other: bytes) -> bool:
    """Equal bytes, or equal JSON with numbers that differ by a millionth at most."""
    if one == other:
        return True
    if len(one) > JSON_MAX_BYTES or len(other) > JSON_MAX_BYTES:
        return False
    try:
        return _same(json.loads(one), json.loads(other))
    except (ValueError, RecursionError):
        return False


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=RELATIVE) or (math.isnan(one) and math.isnan(other))
    if isinstance(one, list) and isinstance(other, list):
        ones, others = cast("list[Any]", one), cast("list[Any]", other)
        return len(ones) == len(others) and all(map(_same, ones, others))
    if isinstance(one, dict) and isinstance(other, dict):
        pairs, beside = cast("dict[str, Any]", one), cast("dict[str, Any]", other)
        return pairs.keys() == beside.keys() and all(_same(value, beside[name]) for name, value in pairs.items())
    return bool(one == other)
