"""What a `desired` answer asks for, entry by entry: one that cannot be read harms no other. Pure."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import spec
from .spec import BadSpec, Spec, Wanted


@dataclass(frozen=True)
class Order:
    """One run as it is wanted. With a `problem` in words, `spec` is None and the run ends before it starts."""

    key: str
    wanted: Wanted
    spec: Spec | None = None
    problem: str | None = None


def read(runs: Mapping[str, Any], *, known: Container[str], gpus: Sequence[str]) -> list[Order]:
    """The entries with a usable key. The specs of `known` runs are not read again: a spec never changes.

    `gpus`: those of this node, in the order in which `#0`, `#1` … are understood.
    """
    return [_order(key, raw, is_known=key in known, gpus=gpus) for key, raw in runs.items() if spec.is_name(key)]


def _order(key: str, raw: Any, *, is_known: bool, gpus: Sequence[str]) -> Order:
    try:
        wanted = spec.wanted(raw)
        return Order(key, wanted, None if is_known else spec.read(raw.get("spec")).on(gpus))
    except (BadSpec, AttributeError) as error:
        return Order(key, Wanted("stop"), problem=f"The control plane's order cannot be followed. {error}")
