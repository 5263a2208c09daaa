"""What a compute instance says of itself: whether it answers, and what its kernels, terminals and machine do."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, cast

from ultramarine.domain.instance import Instance
from ultramarine.domain.run import Run
from ultramarine.domain.usage import Node
from ultramarine.planning.idleness import Application, Evidence, Kernel, Terminal
from ultramarine.planning.routes import Trust, place_of
from ultramarine.routing.asking import ask
from ultramarine.routing.uses import Uses
from ultramarine.services import elsewhere
from ultramarine.services.context import Context

TIMEOUT_S = 2.0
BUSY, STARTING = "busy", ("starting", "restarting")  #: what kernels say of themselves
QUIETLY = "?no_track_activity=1"  #: that we look is no use of it


Asked = Sequence[tuple[Instance, Run]]


class Inside(Protocol):
    """How they are asked, all at a time."""

    async def answers(self, asked: Asked) -> Sequence[bool]: ...

    async def evidence(self, asked: Asked) -> Sequence[Evidence | None]:
        """None of one that does not answer, or not as a Jupyter Server does."""
        ...


class Jupyter:
    """By its own interface, as the gateway reaches it; of its applications the gateway tells."""

    def __init__(self, ctx: Context, uses: Callable[[], Awaitable[Uses | None]]) -> None:
        """`uses`: how the gateway sees their applications used; None where it does not answer."""
        self._ctx, self._uses = ctx, uses

    async def answers(self, asked: Asked) -> Sequence[bool]:
        trust = await self._trust(asked)
        said = await asyncio.gather(*(self._get(*one, "api/status", trust=trust) for one in asked))
        return [each is not None for each in said]

    async def evidence(self, asked: Asked) -> Sequence[Evidence | None]:
        uses, trust = await self._uses() if asked else None, await self._trust(asked)
        return await asyncio.gather(*(self._of(*one, uses, trust=trust) for one in asked))

    async def _trust(self, asked: Asked) -> Trust:
        if not asked:  # as in most turns
            return Trust()
        async with self._ctx.read() as tx:
            return await elsewhere.trust(self._ctx, tx, [run for _, run in asked])

    async def _of(self, instance: Instance, run: Run, uses: Uses | None, *, trust: Trust) -> Evidence | None:
        kernels, terminals = await asyncio.gather(
            *(self._get(instance, run, f"api/{what}", trust=trust) for what in ("kernels", "terminals"))
        )
        try:
            return Evidence(
                kernels=[_kernel(each) for each in _listed(kernels)],
                terminals=[_terminal(each) for each in _listed(terminals)],
                applications=None if uses is None else self._applications(uses, instance),
                cpu_percent=_cpu_percent(self._ctx.usage.of(run.key)),
                gpu_percent=max(self._gpus(run), default=0.0),
            )
        except (KeyError, TypeError, ValueError):
            return None

    def _applications(self, uses: Uses, instance: Instance) -> Sequence[Application]:
        now = self._ctx.clock()
        return [
            Application(
                name=name,
                connections=use.in_flight,
                active_at=None if use.quiet_s is None else now - timedelta(seconds=use.quiet_s),
            )
            for name, use in uses.get(instance.id, {}).items()
        ]

    def _gpus(self, run: Run) -> Iterator[float]:
        """Of its machine, which is its alone."""
        for node in run.nodes:
            own = run.gpu_ids.get(node)
            for gpu in Node.read(self._ctx.hub.load(node)).gpus:
                if own is None or gpu.uuid in own:
                    yield gpu.utilization_percent or 0.0

    async def _get(self, instance: Instance, run: Run, path: str, *, trust: Trust) -> Any:
        """The answer as JSON; None where there is no good one."""
        if (place := place_of(run, trust)) is None:
            return None
        headers = {"Authorization": f"token {elsewhere.secret_of(self._ctx, run)}"}
        whole = f"{instance.path}{path}{QUIETLY}"
        try:
            status, body = await ask(place, "GET", whole, timeout_s=TIMEOUT_S, headers=headers)
            return json.loads(body) if status == 200 else None
        except (OSError, ValueError):
            return None


def _listed(answer: Any) -> list[Mapping[str, Any]]:
    if not isinstance(answer, list):
        raise TypeError("no list")
    return cast("list[Mapping[str, Any]]", answer)


def _kernel(said: Mapping[str, Any]) -> Kernel:
    state = said["execution_state"]
    return Kernel(
        name=str(said["name"])[:80],
        is_busy=state == BUSY,
        is_starting=state in STARTING,
        active_at=_moment(said["last_activity"]),
    )


def _terminal(said: Mapping[str, Any]) -> Terminal:
    return Terminal(name=str(said["name"])[:80], active_at=_moment(said["last_activity"]))


def _moment(said: Any) -> datetime:
    moment = datetime.fromisoformat(said)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment


def _cpu_percent(uses: Mapping[str, Mapping[str, Mapping[str, float]]]) -> float | None:
    """Of all its processes; None: its machine has not told yet."""
    told = [use["now"]["cpu_percent"] for use in uses.values() if "cpu_percent" in use["now"]]
    return sum(told) if told else None
