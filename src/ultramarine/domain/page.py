"""A list a page at a time. A cursor names the last row that was given: the next page begins after it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ultramarine.domain.errors import InvalidInput

T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """At most `limit` rows, from after the one that `after` names ("" is the beginning)."""

    after: str = ""
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """`next`: the cursor of the next page, None where this one is the last."""

    rows: Sequence[T]
    next: str | None = None

    def map(self, read: Callable[[T], S]) -> "Page[S]":
        return Page(rows=[read(row) for row in self.rows], next=self.next)


def cut(rows: Sequence[T], request: PageRequest, *, key: Callable[[T], str]) -> Page[T]:
    """A page of what is in memory, in the order that it has. `key` names each row, no two alike."""
    begin = 0
    if request.after:
        begin = next((at for at, row in enumerate(rows, 1) if key(row) == request.after), 0)
        if begin == 0:
            raise no_cursor(request.after)
    found = rows[begin : begin + request.limit]
    return Page(rows=found, next=key(found[-1]) if begin + request.limit < len(rows) else None)


def no_cursor(after: str) -> InvalidInput:
    return InvalidInput(
        f"after: {after[:120]!r} is no place in this list.",
        hint="Send what `next` of the page before said, or leave it out to begin anew.",
    )
