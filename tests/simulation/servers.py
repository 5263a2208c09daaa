"""A control plane, and the borders at which it changes over to the world: before and after each transaction."""

from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from ultramarine.controllers.runs import RunLoop
from ultramarine.services.context import Context
from ultramarine.store.database import InlineDatabase, Tx


class Border:
    """Where a server changes over to the world."""

    def __await__(self) -> Generator[None]:
        yield


async def border() -> None:
    await Border()


class BorderedDatabase:
    """The store as one server sees it."""

    def __init__(self, inner: InlineDatabase) -> None:
        self._inner = inner

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[Tx]:
        await border()
        async with self._inner.begin() as tx:
            yield tx
        await border()

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[Tx]:
        await border()
        async with self._inner.read() as tx:
            yield tx
        await border()

    async def close(self) -> None:
        pass


@dataclass(slots=True)
class Server:
    """One control plane. `still_until`: it stands still in the middle of whatever it does."""

    name: str
    ctx: Context
    loop: RunLoop
    turn: Coroutine[Any, Any, None] | None = None
    still_until: float = 0.0
