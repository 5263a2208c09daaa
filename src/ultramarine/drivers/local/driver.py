"""Runners as processes of this machine.

An allocation is a folder named by its key; making it is the claim. `process.json` names the runner, `ended` is the mark
that it is over. The runner is in a session of its own and outlives this server. Whatever is left of an allocation
carries its key in its environment, and is swept.
"""

import asyncio
import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from ultramarine.domain.allocation import Allocation
from ultramarine.domain.names import AllocationKey
from ultramarine.drivers.local.processes import ProcessId, is_alive, is_stopped, process_id
from ultramarine.drivers.protocol import Joining, Observation
from ultramarine.drivers.pyz import carriers, sweep
from ultramarine.planning.seen import AllocationNews
from ultramarine.private import write_private

KEY_VARIABLE = "ULTRAMARINE_ALLOCATION"
RELEASED = "Released."
SWEEP_S = 2.0  #: that killed processes may take to be gone
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER")
_KEPT_PREFIXES = ("PIP_", "UV_", "SSL_", "OPENBLAS_", "ULTRAMARINE_TEST")
_KEPT_ENDINGS = ("_PROXY", "_proxy", "_CA_BUNDLE")


class LocalDriver:
    kind: ClassVar[str] = "local"

    def __init__(self, folder: Path, *, pyz: Path, joining: Joining) -> None:
        """`folder`: where allocations have their folders; `pyz`: the packed runner."""
        self._folder, self._pyz, self._joining = folder, pyz, joining
        self._children: dict[AllocationKey, subprocess.Popen[bytes]] = {}
        self._runners: dict[AllocationKey, ProcessId] = {}  #: as they were written down
        self._watched: dict[AllocationKey, int] = {}
        self._stopped: dict[
            AllocationKey, float
        ] = {}  #: since when runners were seen to stand still, on the loop's clock
        self._kill_at: dict[AllocationKey, float] = {}  #: of those that were asked to end, on the loop's clock
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def allocate(self, allocation: Allocation) -> None:
        folder = self._folder / allocation.key
        folder.mkdir(mode=0o700, exist_ok=True)
        if (folder / "ended").exists() or (folder / "process.json").exists() or self._found(allocation.key) is not None:
            return
        write_private(folder / "config.json", json.dumps(dict(self._joining.config(allocation, 0))))
        child = self._start(allocation.key)
        self._children[allocation.key] = child
        if (started := process_id(child.pid)) is not None:
            known = {"pid": started.pid, "started": started.started, "boot": started.boot}
            write_private(folder / "process.json", json.dumps(known))
        self._watch(allocation.key, child.pid)

    async def observe(self) -> Observation:
        keys = [AllocationKey(entry.name) for entry in os.scandir(self._folder) if entry.is_dir()]
        return {key: await self._news(key) for key in keys}

    async def release(self, key: AllocationKey, *, grace_s: float) -> None:
        folder = self._folder / key
        folder.mkdir(mode=0o700, exist_ok=True)
        if (folder / "ended").exists():
            return
        if (runner := self._found(key)) is None or not is_alive(runner.state()):
            await self._sweep(key)
            await self._mark_ended(key, RELEASED)
        elif key not in self._kill_at:
            # Nobody waits here: others want to be served. Its end is observed; what does not end is killed then.
            os.kill(runner.pid, signal.SIGTERM)
            self._kill_at[key] = asyncio.get_running_loop().time() + grace_s
            self._watch(key, runner.pid)

    async def forget(self, key: AllocationKey) -> None:
        await asyncio.to_thread(shutil.rmtree, self._folder / key, True)
        self._unwatch(key)
        self._children.pop(key, None)
        self._runners.pop(key, None)
        self._kill_at.pop(key, None)
        self._stopped.pop(key, None)

    def _start(self, key: AllocationKey) -> subprocess.Popen[bytes]:
        """A runner, in a session of its own. On the event loop: a fork takes about a millisecond."""
        folder = self._folder / key
        with (folder / "runner.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", str(self._pyz), str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=_environment() | {KEY_VARIABLE: key},
                start_new_session=True,
            )

    async def _news(self, key: AllocationKey) -> AllocationNews:
        """One whose end cannot be written down takes the word from no other."""
        try:
            return await self._look(key)
        except OSError as failure:
            return AllocationNews(state="unknown", reason=f"It cannot be looked at: {failure}.")

    async def _look(self, key: AllocationKey) -> AllocationNews:
        if (why := self._ended(key)) is not None:
            return AllocationNews(state="ended", reason=why)
        self._reap(key)
        if (runner := self._found(key)) is None:
            return AllocationNews(state="unknown")
        is_overdue = asyncio.get_running_loop().time() > self._kill_at.get(key, float("inf"))
        state = runner.state()
        was_stopped = self._is_stopped_for_long(key, state)
        if is_alive(state) and not is_overdue and not was_stopped:
            self._watch(key, runner.pid)
            return AllocationNews(state="up")
        # The keeper ends the trees when its link dies, and the other way round; what is left, or stuck, is swept here.
        # Its work may be given to others only after that.
        try:
            await self._sweep(key)
        except TimeoutError as stuck:
            return AllocationNews(state="unknown", reason=str(stuck))
        how = "was stopped by a signal for longer than its lease" if was_stopped else "has ended"
        words = RELEASED if key in self._kill_at else f"Its runner (pid {runner.pid}) {how}."
        await self._mark_ended(key, words)
        return AllocationNews(state="ended", reason=words)

    def _ended(self, key: AllocationKey) -> str | None:
        """Why it has ended; None while it has not. Without a `Path`: it is asked for each node in every turn."""
        try:
            with open(f"{self._folder}/{key}/ended") as mark:
                return mark.read()
        except FileNotFoundError:
            return None

    def _is_stopped_for_long(self, key: AllocationKey, state: str) -> bool:
        """A runner that stands still cannot end its tasks when its lease is over: then that is done for it."""
        if not is_stopped(state):
            self._stopped.pop(key, None)
            return False
        now = asyncio.get_running_loop().time()
        return now - self._stopped.setdefault(key, now) >= self._joining.lease_s

    def _found(self, key: AllocationKey) -> ProcessId | None:
        """Its runner, as written down; when this server died before it could write, as found among the processes."""
        if (known := self._runners.get(key)) is not None:
            return known
        path = self._folder / key / "process.json"
        if path.exists():
            self._runners[key] = ProcessId(**json.loads(path.read_text()))
            return self._runners[key]
        pids = carriers(KEY_VARIABLE, key)
        return process_id(min(pids)) if pids else None

    async def _sweep(self, key: AllocationKey) -> None:
        """End whatever still carries the key. Raises `TimeoutError` when something that was killed lives on."""
        await asyncio.to_thread(sweep, key, patience_s=SWEEP_S)
        self._reap(key)

    def _reap(self, key: AllocationKey) -> None:
        if (child := self._children.get(key)) is not None:
            child.poll()

    async def _mark_ended(self, key: AllocationKey, words: str) -> None:
        """Before that nothing here is cleaned up. So on a full disk what its runs have left goes first: without its
        runner nobody sends that any more."""
        try:
            self._write_end(key, words)
        except OSError as failure:
            if failure.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            await asyncio.to_thread(shutil.rmtree, self._folder / key / "runs", True)
            self._write_end(key, words)
        self._unwatch(key)

    def _write_end(self, key: AllocationKey, words: str) -> None:
        temporary = self._folder / key / "ended.new"
        temporary.write_text(words)
        temporary.rename(self._folder / key / "ended")

    def _watch(self, key: AllocationKey, pid: int) -> None:
        """Wake the loops at the moment that a runner ends."""
        if key in self._watched:
            return
        with contextlib.suppress(OSError):
            self._watched[key] = os.pidfd_open(pid)
            asyncio.get_running_loop().add_reader(self._watched[key], self._on_end, key)

    def _on_end(self, key: AllocationKey) -> None:
        self._unwatch(key)
        self._joining.wake()

    def _unwatch(self, key: AllocationKey) -> None:
        if (descriptor := self._watched.pop(key, None)) is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)


def _environment() -> dict[str, str]:
    """What a runner inherits: where things are and how the network is reached, nothing of ours."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES) or name.endswith(_KEPT_ENDINGS)
    }
