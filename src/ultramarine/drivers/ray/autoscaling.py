"""The autoscaler's configuration brought to what our clusters are, and what its provider tells: machines, failures."""

import asyncio
import json
import logging
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ultramarine.domain.allocation import compute_of
from ultramarine.domain.compute import Compute
from ultramarine.domain.names import AllocationKey, ComputeId
from ultramarine.drivers.ray.fleet import Configuration, ProviderFile, Site, is_as_before, render, type_of
from ultramarine.drivers.ray.places import Places
from ultramarine.drivers.ray.process import ensure_environment
from ultramarine.private import write_private

log = logging.getLogger(__name__)
AUTOSCALER = Path(__file__).parent / "autoscaler"
SETTLE_S = 5.0  #: after a node type was set to none, what was under way to start one of it has begun
SILENT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the provider has last said, by node type; `at`: seconds since 1970."""

    at: float = 0.0
    problem: str = ""
    nodes: Mapping[str, int] = field(default_factory=dict[str, int])
    launching: Mapping[str, int] = field(default_factory=dict[str, int])
    failed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])

    @property
    def machines(self) -> int:
        """How many there are, or are being started."""
        return sum(self.nodes.values()) + sum(self.launching.values())

    def there(self, compute: ComputeId) -> int:
        """How many of them a cluster has."""
        return self.has(type_of(compute))

    def has(self, node_type: str) -> int:
        return self.nodes.get(node_type, 0) + self.launching.get(node_type, 0)


class Autoscaling:
    def __init__(self, places: Places, file: ProviderFile, *, address: str, name: str, environments: Path) -> None:
        """`name`: of this installation, to its provider; `environments`: where Ray's environment is kept."""
        self._places, self._file, self._environments = places, file, environments
        self._site = Site(name=name, address=address, token=places.token, state=places.fleet)
        self._refused: Mapping[str, Any] = {}
        self._refusal, self._began = "", time.time()

    def said(self) -> Said:
        """Read anew at each call: once a turn is enough."""
        return Said(**_read(self._places.fleet))

    async def bring(self, wanted: Mapping[ComputeId, tuple[Compute, int]], said: Said) -> None:
        """Have the configuration say what is wanted; one that Ray refuses is not written, and the reason is kept."""
        previous = _read(self._places.configuration)
        made = render(self._file, self._site, wanted, previous=previous, gone=self._gone(previous, wanted, said))
        if made == previous:
            self._refusal = ""
        elif made != self._refused:
            self._refusal = "" if is_as_before(made, previous) else await self._check(made)
            self._refused = made if self._refusal else {}
            if self._refusal:
                log.warning("ray: the autoscaler's configuration is refused: %s", self._refusal)
            else:
                await asyncio.to_thread(self._write, made)

    def why(self, key: AllocationKey, said: Said) -> str | None:
        """Why the machine of an allocation does not come, in the provider's words; None: nothing is known of that."""
        if self._refusal:
            return f"Ray refuses what it is told of our clusters: {self._refusal}"
        if said.problem:
            return f"The provider of machines does not answer: {said.problem}"
        if (failed := said.failed.get(type_of(compute_of(key)))) is not None:
            again = time.strftime("%H:%M:%S", time.gmtime(failed["again_at"]))
            tried = f"tried {failed['times']} time{'s' * (failed['times'] > 1)}, again at {again} UTC"
            return f"The provider starts no machine ({tried}): {failed['words']}"
        if time.time() - max(said.at, self._began) > SILENT_S:
            return "Ray's autoscaler is not heard: see um status and HOME/logs/ray-head.log."
        return None

    def _gone(self, previous: Configuration, wanted: Collection[ComputeId], said: Said) -> Collection[str]:
        """Node types that were set to none long enough ago, and of which the provider has seen none since."""
        try:
            written_at = self._places.configuration.stat().st_mtime
        except FileNotFoundError:
            return ()
        if said.at < written_at + SETTLE_S:
            return ()
        there, ours = previous.get("available_node_types", {}), {type_of(id) for id in wanted}
        return [
            name for name, each in there.items() if name not in ours and not each["max_workers"] and not said.has(name)
        ]

    def _write(self, made: Configuration) -> None:
        """For the owner alone: a provider's section may hold credentials."""
        self._places.folder.mkdir(mode=0o700, exist_ok=True)
        write_private(self._places.configuration, json.dumps(made, indent=1))

    async def _check(self, made: Configuration) -> str:
        """What Ray itself says against it; nothing: ""."""
        python = await asyncio.to_thread(ensure_environment, self._environments, os.environ)
        paths = os.pathsep.join([str(AUTOSCALER), *self._file.pythonpath])
        checking = await asyncio.create_subprocess_exec(
            *(str(python), "-P", str(AUTOSCALER / "validate.py")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**{k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHON"))}, "PYTHONPATH": paths},
        )
        words, _ = await checking.communicate(json.dumps(made).encode())
        if checking.returncode == 0:
            return ""
        return words.decode(errors="replace").strip() or f"its check ended with {checking.returncode}"


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
