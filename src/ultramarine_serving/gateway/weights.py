"""Smooth weighted round-robin: in any 100 choices with weights 90 and 10, exactly 10 are the second, evenly spread."""

from __future__ import annotations

from collections.abc import Collection, Mapping


class SmoothWeights:
    """Chooses names in proportion to their weights. Weights may change between two choices."""

    def __init__(self) -> None:
        self._credit: dict[str, int] = {}

    def choose(self, weights: Mapping[str, int], usable: Collection[str]) -> str | None:
        """One of `usable` that has a weight above 0, or None.

        Each choice credits every name with its weight, and costs the chosen one the sum.
        """
        total = 0
        best: str | None = None
        credit = self._credit
        for name, weight in weights.items():
            if name not in usable or weight <= 0:
                credit.pop(name, None)
                continue
            total += weight
            credit[name] = credit.get(name, 0) + weight
            if best is None or credit[name] > credit[best]:
                best = name
        if best is not None:
            credit[best] -= total
        return best

    def forget(self) -> None:
        """The weights are others now: old credit would skew the first choices."""
        self._credit.clear()
