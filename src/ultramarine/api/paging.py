"""Which page of a list is asked for: the same two parameters for every list."""

from typing import Annotated

from fastapi import Depends, Query

from ultramarine.domain.page import PageRequest

ROWS_MAX = 1000


async def _request(limit: Annotated[int, Query(ge=1, le=ROWS_MAX)] = 50, after: str = "") -> PageRequest:
    return PageRequest(after=after, limit=limit)


Paging = Annotated[PageRequest, Depends(_request)]
