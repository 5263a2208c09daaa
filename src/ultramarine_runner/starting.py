"""What is done for a run before its ranks start: folders, its logs, the ports, what its worker makes."""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Callable

from . import desired, distribution, machine, ports, ranks, state
from .checkpoints import Checkpoint
from .config import Config
from .folders import Folders
from .ledger import Ledger
from .logs import Shipper
from .prepare import Prepared
from .spec import Limits, Peer, Spec
from .state import Event, Phase, Run
from .work import Failure, Notes, Work


class Starting:
    """For the link's thread. What workers bring is given to `post`, and done there."""

    def __init__(
        self, config: Config, runs: Ledger, *, work: Work, shipper: Shipper, post: Callable[[Callable[[], None]], None]
    ) -> None:
        self._folder = config.folder
        self._whole = (config.memory_bytes, config.cpus)
        self._runs = runs
        self._work = work
        self._shipper = shipper
        self._post = post
        self._node = ranks.Node.here(config.allocation, config.gpus, config.cpus)
        self._prepared: dict[str, Prepared] = {}
        self._notes: dict[str, Notes] = {}
        self._ports: dict[str, ports.Held] = {}

    def adopt(self, order: desired.Order, *, address: str, prepared: Callable[[str], None]) -> None:
        """Take a run that is new here. `prepared` is called with its key once its worker has done what it could."""
        key, read = order.key, order.spec
        self._runs.put(Run(key=key, spec=read, wanted=order.wanted, address=address))
        folders = Folders.of(self._folder, key)
        notes = self._notes[key] = Notes(
            folders.own_log(read.node_rank if read else 0), lambda said: self._post(lambda: self._progress(key, said))
        )
        try:
            for rank, file in folders.make(read):
                self._shipper.follow(key, rank, file, limit=read.limits.log_bytes if read else None)
            if read is not None and read.collects:
                self._shipper.collect(key, folders.collected)
        except OSError as error:
            cause = "disk_full" if error.errno == errno.ENOSPC else "runner"
            self.give_up(key, cause, f"No folder could be made: {error}.")
            return
        if read is None:
            self.give_up(key, "input", order.problem or "")
        elif order.wanted.phase in ("prepare", "go"):
            self._ports[key] = held = ports.Held(distribution.ports(read) + len(read.ports))
            self._runs.change(key, ports=held.ports, is_preparing=True)
            self._work.prepare(
                key,
                read,
                folders,
                notes=notes,
                done=lambda made: self._post(lambda: self._ended(key, made, prepared)),
            )

    def notes(self, key: str) -> Notes:
        """The runner's own words about a run."""
        return self._notes[key]

    def checkpoint(self, key: str) -> Checkpoint | None:
        """The folder that is kept from here, of a run that is prepared."""
        prepared = self._prepared.get(key)
        return None if prepared is None else prepared.checkpoint

    def give_up(self, key: str, cause: str, words: str) -> None:
        """End a run that has no ranks yet."""
        self._notes[key].cancel()
        ended = state.ending(cause, words, at=time.time())
        if self._runs.apply(key, Event.GIVEN_UP, ending=ended, ended_boot_s=machine.boot_s()):
            self._release_port(key)
            self._shipper.finish(key)

    def launch(self, run: Run) -> Mapping[str, Any]:
        """The ranks of a run that is ready, as the keeper is told to start them; BadSpec when they cannot be."""
        assert run.spec is not None
        folders = Folders.of(self._folder, run.key)
        places = replace(self._prepared[run.key].places, ports=_served_at(run))
        launches = ranks.launches(run.key, run.spec, places, wanted=run.meeting, node=self._node)
        self._release_port(run.key)
        return {
            "folder": str(folders.root),
            "limits": asdict(self._limits(run.spec)),
            "ranks": [folders.order(one) for one in launches],
        }

    def _limits(self, spec: Spec) -> Limits:
        """Those of a run; where it has none of its own, the whole node is its share."""
        own, (memory_bytes, cpus) = spec.limits, self._whole
        return replace(own, memory_bytes=own.memory_bytes or memory_bytes or None, cpus=own.cpus or cpus)

    def forget(self, key: str) -> tuple[Path, ...]:
        """The folders that may go with the run."""
        self._notes.pop(key)
        prepared = self._prepared.pop(key, None)
        if prepared is not None:
            prepared.held.close()
        return (Folders.of(self._folder, key).root, *(prepared.extra if prepared else ()))

    def _progress(self, key: str, words: str) -> None:
        run = self._runs.get(key)
        if run is not None and run.phase is Phase.PREPARING:
            self._runs.change(key, progress=words)
            self._runs.is_changed = True

    def _ended(self, key: str, made: Prepared | Failure | None, prepared: Callable[[str], None]) -> None:
        self._runs.change(key, is_preparing=False)
        if isinstance(made, Failure):
            self.give_up(key, made.cause, made.words)
        elif made is not None:
            self._prepared[key] = made
            sockets = {name: f"unix:{path}" for name, path in made.places.sockets.items()}
            self._runs.apply(key, Event.PREPARED, progress="", sockets=sockets | _served_at(self._runs[key]))
        prepared(key)

    def _release_port(self, key: str) -> None:
        held = self._ports.pop(key, None)
        if held is not None:
            held.close()


def _served_at(run: Run) -> dict[str, str]:
    """`ADDRESS:PORT` of each port by which others reach it; held for it behind those of its processes."""
    if run.spec is None or not run.spec.ports:
        return {}
    own, first = Peer(run.address or "127.0.0.1", run.ports), distribution.ports(run.spec)
    return {name: distribution.place(own, first + at) for at, name in enumerate(run.spec.ports)}
