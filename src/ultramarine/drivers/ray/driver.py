"""The four verbs, asked of the engine: the process that knows Ray."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from ultramarine.domain.allocation import Allocation
from ultramarine.domain.names import AllocationKey
from ultramarine.domain.size import Amount
from ultramarine.drivers.protocol import Joining, Observation
from ultramarine.drivers.ray.autoscaling import Autoscaling
from ultramarine.drivers.ray.fleet import bundle
from ultramarine.planning.seen import AllocationNews

ANSWER_S = 30.0
LINE_BYTES_MAX = 64 * 1024**2


class EngineFailed(OSError):
    """Ray's engine does not answer, or Ray refused."""


class RayDriver:
    kind: ClassVar[str] = "ray"

    def __init__(self, socket: Path, *, pyz: Path, joining: Joining, autoscaling: Autoscaling | None = None) -> None:
        """`socket`: where the engine listens; `pyz`: the packed runner; `autoscaling`: of a Ray of our own."""
        self._socket, self._pyz, self._joining = socket, pyz, joining
        self._autoscaling = autoscaling

    async def allocate(self, allocation: Allocation) -> None:
        has_fleet = self._autoscaling is not None
        await self._ask(
            "allocate",
            key=allocation.key,
            config=dict(self._joining.config(allocation, 0)),
            bundle=bundle(allocation) if has_fleet else _in_words_of_ray(allocation.capacity),
            runner=str(self._pyz),
            lease_s=self._joining.lease_s,
        )

    async def observe(self) -> Observation:
        found = await self._ask("observe")
        news = {AllocationKey(key): AllocationNews(**each) for key, each in found.items()}
        return news if self._autoscaling is None else _explained(news, self._autoscaling)

    async def release(self, key: AllocationKey, *, grace_s: float) -> None:
        await self._ask("release", key=key, grace_s=grace_s)

    async def forget(self, key: AllocationKey) -> None:
        await self._ask("forget", key=key)

    async def _ask(self, verb: str, **given: Any) -> Any:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await self._engine()
            try:
                writer.write(json.dumps({"verb": verb, **given}).encode() + b"\n")
                await writer.drain()
                line = await reader.readline()
            finally:
                writer.close()
        if not line:
            raise EngineFailed("The engine of Ray went away before it answered.")
        said = json.loads(line)
        if "error" in said:
            raise EngineFailed(f"The engine of Ray: {said['error']}")
        return said["answer"]

    async def _engine(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await asyncio.open_unix_connection(str(self._socket), limit=LINE_BYTES_MAX)
        except OSError as error:
            raise EngineFailed(
                "The engine of Ray is not there: it starts, has its environment built, or waits for Ray's head. "
                "See um status, and HOME/logs/control.log."
            ) from error


def _explained(news: Observation, autoscaling: Autoscaling) -> Observation:
    """What the provider of machines says of those that wait is more than Ray knows."""
    said = autoscaling.said()
    reasons = {key: autoscaling.why(key, said) for key, each in news.items() if each.state == "pending"}
    told = {key: why or "Ray's autoscaler brings a machine for it." for key, why in reasons.items()}
    return {**news, **{key: replace(news[key], reason=words) for key, words in told.items()}}


def _in_words_of_ray(amount: Amount) -> dict[str, float]:
    named = {"CPU": amount.cpus_milli / 1000, "memory": amount.memory_bytes, "GPU": amount.gpus}
    return {name: value for name, value in named.items() if value}
