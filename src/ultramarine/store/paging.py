"""Pages by the values of the columns that order them: however long the list, a page costs the same."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.sql.elements import KeyedColumnElement

from ultramarine.domain.page import Page, PageRequest, no_cursor
from ultramarine.store import tables as t
from ultramarine.store.database import MANY, Tx
from ultramarine.store.rows import Row, fetch, mappings

T = TypeVar("T")
Ordering = KeyedColumnElement[Any]
_SEPARATOR = ","  #: in no name, number or time
_NUMBER_MAX = 2**63 - 1


async def fetch_page(
    tx: Tx,
    query: sa.Select[Any],
    request: PageRequest,
    *,
    order: Sequence[Ordering],
    read: Callable[[Row], T],
    is_descending: bool = False,
) -> Page[T]:
    """A page of `query` ordered by `order`: columns that it selects, whose values together name a row.

    Raises `InvalidInput` for a cursor that is none of this list.
    """
    if request.after:
        place, columns = sa.tuple_(*_values(request.after, order)), sa.tuple_(*order)
        query = query.where(columns < place if is_descending else columns > place)
    query = query.order_by(*(column.desc() if is_descending else column for column in order))
    one_more = query.limit(request.limit + 1)
    found = await (tx.fetch(one_more, None, mappings) if request.limit > MANY else fetch(tx, one_more))
    rows = found[: request.limit]
    has_next = len(found) > request.limit
    return Page(rows=[read(row) for row in rows], next=_cursor(rows[-1], order) if has_next else None)


def _cursor(row: Row, order: Sequence[Ordering]) -> str:
    values = (row[column.key] for column in order)
    return _SEPARATOR.join(str(t.microseconds(v) if isinstance(v, datetime) else v) for v in values)


def _values(cursor: str, order: Sequence[Ordering]) -> list[sa.BindParameter[Any]]:
    parts = cursor.split(_SEPARATOR)
    if len(parts) != len(order):
        raise no_cursor(cursor)
    return [sa.literal(_value(part, column, cursor), column.type) for part, column in zip(parts, order, strict=True)]


def _value(part: str, column: Ordering, cursor: str) -> Any:
    if "\0" in cursor:  # PostgreSQL takes none
        raise no_cursor(cursor)
    if not isinstance(column.type, t.Moment | sa.Integer):
        return part
    if not (part.isascii() and part.isdecimal() and int(part) <= _NUMBER_MAX):
        raise no_cursor(cursor)
    try:
        return datetime.fromtimestamp(int(part) / 1_000_000, UTC) if isinstance(column.type, t.Moment) else int(part)
    except (ValueError, OverflowError, OSError):
        raise no_cursor(cursor) from None
