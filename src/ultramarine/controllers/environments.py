"""The loop that locks environments: one at a time, outside any transaction."""

import logging

from ultramarine.domain.environment import Environment, EnvironmentEvent, Locked
from ultramarine.domain.errors import UltramarineError, Unavailable
from ultramarine.locks.lock import Lock
from ultramarine.services.context import Context
from ultramarine.services.environments import lock
from ultramarine.store import assets

log = logging.getLogger(__name__)
RESOLVE_S_MAX = 120.0


class EnvironmentLoop:
    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    async def tick(self) -> None:
        """Lock what waits for it.

        What cannot be is refused with the reason. An index that does not answer is asked again in a later turn, and
        what went wrong here is tried again: neither holds up what waits behind.
        """
        async with self._ctx.read() as tx:
            waiting = await assets.resolving(tx)
        undone: Exception | None = None
        for environment in waiting:
            try:
                locked = await self._lock(environment)
            except Unavailable as error:
                undone = error
            except UltramarineError as refused:
                await self._record(environment, EnvironmentEvent.REFUSED, reason=f"{refused} {refused.hint}")
            except Exception as error:
                log.exception("environment %s:%s cannot be locked", environment.name, environment.version)
                undone = error
            else:
                await self._record(environment, EnvironmentEvent.LOCKED, locked=locked)
        if undone is not None:
            raise undone

    async def _lock(self, environment: Environment) -> Locked:
        return keep(self._ctx, await lock(self._ctx, environment.spec, timeout_s=RESOLVE_S_MAX))

    async def _record(
        self, environment: Environment, event: EnvironmentEvent, *, locked: Locked | None = None, reason: str = ""
    ) -> None:
        async with self._ctx.begin() as tx:
            await assets.record_environment(tx, environment, event, locked=locked, reason=reason)
        self._ctx.ring()


def keep(ctx: Context, made: Lock, *others: Lock) -> Locked:
    """Put the lock where nodes fetch it; with it those for other accelerators."""
    return Locked(
        digest=made.digest,
        lock=ctx.blobs.put(made.text.encode()),
        python=made.python,
        packages=len(made.packages),
        accelerator=made.accelerator,
        others=tuple(keep(ctx, other) for other in others),
    )
