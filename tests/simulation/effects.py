"""What a server does to the world, by name, and the moments before and after each: there it may be made to die.

Before a transaction means: all its statements are said, and nothing is kept yet.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, TypeVar, cast

import sqlalchemy as sa

from ultramarine.domain.allocation import AllocationEvent
from ultramarine.domain.compute import ComputeEvent
from ultramarine.domain.endpoint import DeploymentEvent
from ultramarine.domain.instance import InstanceEvent
from ultramarine.domain.run import RunEvent
from ultramarine.drivers.protocol import Driver
from ultramarine.store import tables as t
from ultramarine.store.database import Tx

T = TypeVar("T")
Side = Literal["before", "after"]
SIDES: tuple[Side, Side] = ("before", "after")
CREATED = "created"

#: Why what the product can do is not done here.
NEVER = {
    "allocation found_sick": "of this machine's nodes any other would have the same disk",
}


def _named(noun: str, *events: Any) -> tuple[str, ...]:
    return tuple(f"{noun} {event}" for event in events)


#: All there are, as the product itself lists them: a new event or verb is one more that must be tried.
EFFECTS = tuple(
    effect
    for effect in (
        *_named("driver", *(verb for verb in vars(Driver) if callable(vars(Driver)[verb]) and verb[0] != "_")),
        *_named("driver", "release of an orphan", "forget of an orphan"),
        *_named("job", CREATED, "tried_again"),
        *_named("run", *(event.value for event in RunEvent)),
        *_named("allocation", CREATED, *(event.value for event in AllocationEvent)),
        *_named("compute", CREATED, *(event.value for event in ComputeEvent)),
        *_named("deployment", CREATED, "replica_made", *(event.value for event in DeploymentEvent)),
        *_named("write", "leases", "runs", "computes", "environments", "endpoints", "deployments"),  # without an event
        "gateway publish",
    )
    if effect not in NEVER
)

#: Of compute instances, which have worlds of their own (test_instances.py).
INSTANCE_EFFECTS = (
    *_named("instance", CREATED, "run_made", *(event.value for event in InstanceEvent)),
    "write instances",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Where a server is. `is_border`: there the world may go on without it."""

    server: str
    effects: frozenset[str] = frozenset()
    side: Side | None = None  #: of the effects
    is_border: bool = True


class Passing:
    """Where a server says where it is, and is awaited until it may go on."""

    def __init__(self, moment: Moment) -> None:
        self._moment = moment

    def __await__(self) -> Generator[Moment]:
        yield self._moment


@dataclass(slots=True)
class Aim:
    """A server dies at one moment, the `skip`th after the first of its kind."""

    effect: str
    side: Side
    skip: int = 0
    is_hit: bool = False

    @classmethod
    def of(cls, seed: int) -> "Aim":
        dice = Random(f"aim {seed}")
        return cls(dice.choice(EFFECTS), dice.choice(SIDES), skip=dice.randrange(4))

    def is_at(self, moment: Moment) -> bool:
        if self.is_hit or moment.side != self.side or self.effect not in moment.effects:
            return False
        self.skip -= 1
        self.is_hit = self.skip < 0
        return self.is_hit


class WatchedTx:
    """Notes what is written: the events, and where there is none the tables."""

    def __init__(self, inner: Tx) -> None:
        self._inner = inner
        self._events: set[str] = set()
        self._tables: set[str] = set()

    async def execute(self, statement: Any, parameters: Any = None, /) -> sa.CursorResult[Any]:
        done = await self._inner.execute(statement, parameters)
        if isinstance(statement, sa.Insert | sa.Update | sa.Delete):
            table = cast("sa.Table", statement.table)
            if table is t.events:
                noun = "run" if parameters["event"] in set(RunEvent) else parameters["noun"]
                self._events.add(f"{noun} {parameters['event']}")
            else:
                self._tables.add(table.name)
        return done

    async def fetch(self, statement: Any, parameters: Any, read: Callable[[sa.CursorResult[Any]], T], /) -> T:
        return await self._inner.fetch(statement, parameters, read)

    @property
    def effects(self) -> frozenset[str]:
        return frozenset(self._events or (f"write {table}" for table in self._tables))
