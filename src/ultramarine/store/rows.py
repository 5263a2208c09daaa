"""Between rows and domain types: the one place where a row's columns are anything but themselves.

Statements that every turn or request executes are built once, with `bindparam`s: to build one anew takes five times as
long as to execute it.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar, cast

import sqlalchemy as sa

from ultramarine.domain.errors import StaleWrite
from ultramarine.domain.run import Cause, Ending
from ultramarine.domain.size import Amount
from ultramarine.store.database import MANY, Tx

Row = Mapping[str, Any]  #: a row's values by the names of its columns
T = TypeVar("T")


async def fetch(tx: Tx, query: sa.Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row]:
    return mappings(await tx.execute(query, parameters))


async def fetch_many(
    tx: Tx, query: sa.Select[Any], read: Callable[[Row], T], parameters: Mapping[str, Any] | None = None
) -> Sequence[T]:
    """Each row as `read` makes it. When they are many it is done in a thread, so that the event loop goes on.

    The first rows are read twice then: few are read at once, without the trip.
    """
    few = await fetch(tx, _first(query), parameters)
    if len(few) < MANY:
        return [read(row) for row in few]
    return await tx.fetch(
        query, parameters, lambda found: [read(row) for row in cast("Iterable[Row]", found.mappings())]
    )


def mappings(found: sa.CursorResult[Any]) -> Sequence[Row]:
    return cast("Sequence[Row]", found.mappings().all())


@functools.lru_cache
def _first(query: sa.Select[Any]) -> sa.Select[Any]:
    return query.limit(MANY)


async def fetch_one(tx: Tx, query: sa.Executable, parameters: Mapping[str, Any] | None = None) -> Row | None:
    """The only row, or None. More than one is a bug, and raises."""
    return cast("Row | None", (await tx.execute(query, parameters)).mappings().one_or_none())


def fields(row: Row, **read: Any) -> dict[str, Any]:
    """A row's columns as the fields of a domain type; `read`: those that are not the same in both."""
    return {**row, **read}


def amount_to_json(amount: Amount | None) -> dict[str, int] | None:
    return None if amount is None else asdict(amount)


def amount_from_json(value: Mapping[str, int] | None) -> Amount | None:
    return None if value is None else Amount(**value)


def ending_to_json(ending: Ending | None) -> dict[str, Any] | None:
    return None if ending is None else asdict(ending)


def ending_from_json(value: Mapping[str, Any] | None) -> Ending | None:
    return None if value is None else Ending(**fields(value, cause=Cause(value["cause"])))


async def change(tx: Tx, table: sa.Table, key: str, *, version: int, values: Mapping[str, Any], noun: str) -> None:
    """Write `values` to the row whose first unique column is `key`, if it is still at `version`: else `StaleWrite`."""
    done = await tx.execute(_changing(table), {**values, "of_key": key, "of_version": version})
    if done.rowcount != 1:
        raise StaleWrite(noun, key)


@functools.cache
def _changing(table: sa.Table) -> sa.Update:
    column = table.c.key if "key" in table.c else table.c.id if "id" in table.c else table.c.name
    return table.update().where(column == sa.bindparam("of_key"), table.c.version == sa.bindparam("of_version"))
