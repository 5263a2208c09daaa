"""Rows that one reader reads again and again: of those that stand still only the versions are read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

import sqlalchemy as sa

from ultramarine.store.database import MANY, Tx
from ultramarine.store.rows import Row, fetch, fetch_many

KEYS_MAX = 500  #: in one statement: databases take a limited number of parameters


class Versioned(Protocol):
    """A row whose key is never given twice, and whose version is another one after each write that counts."""

    @property
    def key(self) -> str: ...
    @property
    def version(self) -> int: ...


V = TypeVar("V", bound=Versioned)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries(Generic[V]):
    """`versions`: keys and versions of all, in order. `every`: the same rows whole. `some`: those `of_keys`."""

    versions: sa.Select[Any, Any]
    every: sa.Select[Any]
    some: sa.Select[Any]
    read: Callable[[Row], V]


class Known(Generic[V]):
    """For transactions that only read: what another one reads of its own writes may be undone."""

    def __init__(self, queries: Queries[V], given: Mapping[str, Any] | None) -> None:
        self._queries, self._given = queries, given
        self._rows: dict[str, V] = {}

    async def again(self, tx: Tx) -> Sequence[V]:
        """All of them, in their order, as they are now."""
        if not self._rows:
            self._rows = await self._every(tx)
            return list(self._rows.values())
        query, known = self._queries.versions, self._rows
        if len(known) <= MANY:
            order, changed = self._changed(await tx.execute(query, self._given))
        else:
            order, changed = await tx.fetch(query, self._given, self._changed)
        if changed or order != list(known):
            now = known | await self._read(tx, changed)
            self._rows = {key: now[key] for key in order if key in now}
        return list(self._rows.values())

    def get(self, key: str) -> V | None:
        """As it is known."""
        return self._rows.get(key)

    def put(self, written: Iterable[V]) -> None:
        """These were just written, by who reads: they need not be read."""
        self._rows.update({row.key: row for row in written})

    def _changed(self, found: sa.CursorResult[Any]) -> tuple[list[str], list[str]]:
        """The keys of all in their order, and those of rows that are not as they are known."""
        order, changed = list[str](), list[str]()
        for key, version in cast("Iterable[tuple[str, int]]", found):
            order.append(key)
            if (row := self._rows.get(key)) is None or row.version != version:
                changed.append(key)
        return order, changed

    async def _read(self, tx: Tx, keys: Sequence[str]) -> dict[str, V]:
        if len(keys) > KEYS_MAX:
            return await self._every(tx)
        found = await fetch(tx, self._queries.some, {"of_keys": keys}) if keys else ()
        return {row.key: row for row in map(self._queries.read, found)}

    async def _every(self, tx: Tx) -> dict[str, V]:
        return {row.key: row for row in await fetch_many(tx, self._queries.every, self._queries.read, self._given)}
