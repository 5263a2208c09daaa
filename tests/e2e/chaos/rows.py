"""What the server has written down, as rows of its database: read beside it, never written."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOLDS_ROOM = ("Wanted", "Starting", "Up", "Draining", "Releasing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A run of a job."""

    key: str
    ordinal: int
    status: str
    cause: str | None
    code: int | None
    losses: int
    retries_left: int
    began_at: float  #: seconds since 1970
    ended_at: float


def select(home: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{home}/ultramarine.db?mode=ro", uri=True, timeout=30)) as base:
        return base.execute(query, values).fetchall()


def allocations(home: Path) -> list[str]:
    """The keys of those that machines are held for."""
    return [key for (key,) in select(home, f"select key from allocations where status in {HOLDS_ROOM} order by key")]


def held(home: Path) -> list[tuple[str, str, str]]:
    """Of each allocation that is not forgotten: its key, its status, why it has it."""
    return [(str(k), str(s), str(r)) for k, s, r in select(home, "select key, status, reason from allocations")]


def attempts(home: Path) -> dict[str, list[Attempt]]:
    """By job, in their order."""
    found: dict[str, list[Attempt]] = defaultdict(list)
    query = (
        "select owner_name, key, ordinal, status, ending, losses, retries_left, created_at, ended_at"
        " from runs where owner_noun = 'job' order by owner_name, ordinal"
    )
    for name, key, ordinal, status, told, losses, retries_left, began, ended in select(home, query):
        ending: dict[str, Any] = json.loads(told or "{}")
        found[name].append(
            Attempt(
                key=key,
                ordinal=ordinal,
                status=status,
                cause=ending.get("cause"),
                code=ending.get("code"),
                losses=losses,
                retries_left=retries_left,
                began_at=began / 1e6,
                ended_at=(ended or 0) / 1e6,
            )
        )
    return found


def promised_too_much(home: Path) -> Sequence[str]:
    """Hosts and nodes of which more is promised than they have, as of one moment."""
    query = (
        "select 'host ' || a.host, h.cpus_milli, sum(json_extract(a.claim, '$.cpus_milli')) from allocations a"
        f" join hosts h on h.name = a.host where a.status in {HOLDS_ROOM} and h.is_bounded group by a.host"
    )
    nodes = (
        "select 'node ' || n.value, json_extract(a.capacity, '$.cpus_milli'), sum(coalesce("
        "json_extract(r.need, '$.cpus_milli'), json_extract(a.capacity, '$.cpus_milli'))) from runs r,"
        " json_each(r.nodes) n join allocations a on n.value = a.key || '.0' where r.is_open and not a.is_elastic"
        " group by n.value"
    )
    rows = [*select(home, query), *select(home, nodes)]
    return [f"{what} has {there} and has promised {taken}" for what, there, taken in rows if taken > there + 1]
