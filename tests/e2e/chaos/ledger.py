"""What the ranks have written of their own lives (`job/witness.py`), and what must hold of it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """A rank of an attempt. Seconds on the boot clock; it certainly lived from the first to the last."""

    key: str
    rank: int
    first_s: float
    last_s: float
    lines: int
    node: str


def read(folder: Path) -> dict[str, list[Life]]:
    """By run key, its ranks. A rank that began twice is an error."""
    assert not (twice := list(folder.glob("*.twice"))), f"begun twice: {twice}"
    found: dict[str, list[Life]] = defaultdict(list)
    for page in sorted(folder.iterdir()):
        key, _, rank = page.name.rpartition(".")
        if ".failed." in page.name or not (words := page.read_text().split()):
            continue
        first, last, lines, node = words
        life = Life(key=key, rank=int(rank), first_s=float(first), last_s=float(last), lines=int(lines), node=node)
        found[key].append(life)
    return found


def at_once(attempts: Iterable[str], lives: Mapping[str, Sequence[Life]]) -> list[str]:
    """Attempts at one job, in their order, of which a later one had begun while an earlier one lived."""
    told = list[str]()
    known = [(key, lives[key]) for key in attempts if key in lives]
    for (key, before), (after_key, after) in pairwise(known):
        ended, begun = max(life.last_s for life in before), min(life.first_s for life in after)
        if ended > begun:
            told.append(f"{after_key} began {ended - begun:.3f} s before {key} had ended")
    return told


def crowded(lives: Mapping[str, Sequence[Life]], parts: Mapping[str, float]) -> list[str]:
    """Nodes on which more lived at one moment than they have room for; `parts`: of a node, by run key."""
    of_node: dict[str, list[Life]] = defaultdict(list)
    for life in (life for of_run in lives.values() for life in of_run):
        of_node[life.node].append(life)
    told = list[str]()
    for node, there in of_node.items():
        for life in there:  # the fullest moment is a beginning
            others = [other for other in there if other.first_s <= life.first_s < other.last_s]
            if sum(parts[other.key] for other in others) > 1.001:
                told.append(f"{node} had {[other.key for other in others]} at once")
    return told
