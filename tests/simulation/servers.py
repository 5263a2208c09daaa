"""A control plane, and the borders at which it changes over to the world: before and after each transaction and each
call of the driver.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.simulation.effects import Moment, Passing, WatchedTx
from tests.simulation.runner import Unreachable
from tests.simulation.serving import SimulatedGateway

from ultramarine.domain.allocation import Allocation
from ultramarine.domain.names import AllocationKey
from ultramarine.drivers.protocol import Driver, Observation
from ultramarine.services.context import Context
from ultramarine.store.database import InlineDatabase, Tx


class ServerDied(Unreachable):
    """In the middle of a request."""


class BorderedDatabase:
    """The store as one server sees it."""

    def __init__(self, inner: InlineDatabase, server: str) -> None:
        self._inner, self._server = inner, server

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[Tx]:
        await Passing(Moment(server=self._server))
        async with self._inner.begin() as tx:
            watched = WatchedTx(tx)
            yield watched
            effects = watched.effects
            await Passing(Moment(server=self._server, effects=effects, side="before", is_border=False))
        await Passing(Moment(server=self._server, effects=effects, side="after"))

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[Tx]:
        await Passing(Moment(server=self._server))
        async with self._inner.read() as tx:
            yield tx
        await Passing(Moment(server=self._server))

    async def close(self) -> None:
        pass


class BorderedDriver:
    """A driver as one server calls it. `is_known`: whether there is an open allocation of this key."""

    kind: ClassVar[str] = "simulated"

    def __init__(self, inner: Driver, server: str, *, is_known: Callable[[AllocationKey], bool]) -> None:
        self._inner, self._server, self._is_known = inner, server, is_known

    async def allocate(self, allocation: Allocation) -> None:
        async with self._called("allocate"):
            await self._inner.allocate(allocation)

    async def observe(self) -> Observation:
        async with self._called("observe"):
            return await self._inner.observe()

    async def release(self, key: AllocationKey, *, grace_s: float) -> None:
        async with self._called(self._named("release", key)):
            await self._inner.release(key, grace_s=grace_s)

    async def forget(self, key: AllocationKey) -> None:
        async with self._called(self._named("forget", key)):
            await self._inner.forget(key)

    def _named(self, verb: str, key: AllocationKey) -> str:
        return verb if self._is_known(key) else f"{verb} of an orphan"

    @asynccontextmanager
    async def _called(self, verb: str) -> AsyncGenerator[None]:
        effects = frozenset({f"driver {verb}"})
        await Passing(Moment(server=self._server, effects=effects, side="before"))
        try:
            yield
        except OSError:  # that it was not answered does not say that it was not done
            await Passing(Moment(server=self._server, effects=effects, side="after"))
            raise
        await Passing(Moment(server=self._server, effects=effects, side="after"))


@dataclass(slots=True)
class Loop:
    """`leads`: only who holds the lease writes in it."""

    tick: Callable[[], Coroutine[Any, Any, None]]
    leads: bool = False
    turn: Coroutine[Any, Any, None] | None = None


@dataclass(slots=True)
class Server:
    """One control plane, at `home`. `still_until`: it stands still in the middle of whatever it does."""

    name: str
    home: int
    ctx: Context
    loops: Sequence[Loop]  #: the scheduler's first
    gateway: SimulatedGateway
    still_until: float = 0.0

    @property
    def is_turning(self) -> bool:
        return any(loop.turn is not None for loop in self.loops)

    def die(self) -> None:
        """Where it is: what it has begun in the store is undone. (A coroutine that is closed leaves that open.)"""
        for loop in self.loops:
            if loop.turn is not None:
                with suppress(ServerDied):
                    loop.turn.throw(ServerDied())
