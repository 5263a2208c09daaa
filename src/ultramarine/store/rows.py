"""Between rows and domain types: the one place where a row's columns are anything but themselves."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from ultramarine.domain.errors import StaleWrite
from ultramarine.domain.run import Cause, Ending
from ultramarine.domain.size import Amount
from ultramarine.store.database import Tx

Row = Mapping[str, Any]


def amount_to_json(amount: Amount | None) -> dict[str, int] | None:
    return None if amount is None else asdict(amount)


def amount_from_json(value: Mapping[str, int] | None) -> Amount | None:
    return None if value is None else Amount(**value)


def ending_to_json(ending: Ending | None) -> dict[str, Any] | None:
    return None if ending is None else asdict(ending)


def ending_from_json(value: Mapping[str, Any] | None) -> Ending | None:
    return None if value is None else Ending(**{**value, "cause": Cause(value["cause"])})


async def change(tx: Tx, table: sa.Table, key: str, *, version: int, values: Mapping[str, Any], noun: str) -> None:
    """Write `values` to the row whose first unique column is `key`, if it is still at `version`: else `StaleWrite`."""
    column = table.c.key if "key" in table.c else table.c.id if "id" in table.c else table.c.name
    done = await tx.execute(table.update().where(column == key, table.c.version == version).values(**values))
    if done.rowcount != 1:
        raise StaleWrite(noun, key)
