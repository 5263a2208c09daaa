"""The keeper: forks the ranks, waits for them, ends whole trees, keeps the exit records. One thread, no network.

It never trusts the link to be there: when the socket between them closes, it ends everything, writes the records
and exits.
"""

from __future__ import annotations

import errno
import os
import selectors
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NoReturn

from . import limits, messages, spawn, trees
from .cgroups import Groups, Share
from .endings import Exit, judge, keep
from .machine import oom_kills
from .spec import Limits

RANK_GRACE_S = 5.0  #: what the other ranks get when one has failed
_RESCAN_S = 0.02
_GIVE_UP_S = 60.0


@dataclass
class _Kept:
    """A run whose processes are ours."""

    key: str
    folder: str
    ranks: dict[int, str]  #: pid -> rank
    limits: Limits
    oom_before: int  #: processes that the kernel had killed when it began
    sessions: set[int] = field(default_factory=set[int])  #: each rank's own; it may outlive its rank
    exits: dict[str, Exit] = field(default_factory=dict[str, Exit])
    failed: str | None = None  #: the first rank that failed by itself
    cause: str | None = None
    words: str = ""
    kill_at: float | None = None  #: on the monotonic clock
    killing_since: float | None = None
    rescan_at: float | None = None


def run(link: socket.socket, groups: Groups) -> NoReturn:
    """Serve the link until it is gone. Called in the freshly forked child."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    spawn.become_subreaper()
    os._exit(Keeper(link, groups).serve())


class Keeper:
    """Runs by key, and the loop around them."""

    def __init__(self, link: socket.socket, groups: Groups) -> None:
        self._link = link
        self._groups = groups
        self._reader = messages.Reader(link)
        self._runs: dict[str, _Kept] = {}
        self._owners: dict[int, str] = {}  #: adopted orphans -> run key
        self._open = True

    def serve(self) -> int:
        """The loop: messages from the link, children that ended, times that are over."""
        woken, wake = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _ignore)
        with selectors.DefaultSelector() as selector:
            selector.register(woken, selectors.EVENT_READ)
            selector.register(self._link, selectors.EVENT_READ)
            while self._open or self._runs:
                ready = {key.fd for key, _ in selector.select(self._patience())}
                if woken in ready:
                    _drain(woken)
                if self._open and self._link.fileno() in ready and not self._hear():
                    selector.unregister(self._link)
                    self._open = False
                    self._abandon()
                self._reap()
                self._advance()
        self._end_strays()
        return 0

    def _hear(self) -> bool:
        heard = self._reader.read()
        for message in heard or ():
            if message["do"] == "start":
                self._start(message)
            elif message["do"] == "end" and message["run"] in self._runs:
                kept = self._runs[message["run"]]
                self._end(kept, message["cause"], message["words"], message["grace_s"])
        return heard is not None

    def _abandon(self) -> None:
        for kept in self._runs.values():
            self._end(kept, "runner", "The runner's link process died: the keeper ended the run.", 0.0)

    def _start(self, message: Mapping[str, Any]) -> None:
        own = Limits(**message["limits"])
        kept = _Kept(message["run"], message["folder"], {}, own, oom_kills())
        self._runs[kept.key] = kept
        groups = self._groups.make(kept.key, Share(own.memory_bytes, own.processes, own.cpus))
        for rank in message["ranks"]:
            log, folder = rank["log"], rank["folder"]
            try:
                pid = spawn.spawn(rank["argv"], rank["environment"], folder=folder, log=log, groups=groups)
            except OSError as error:
                cause = "disk_full" if error.errno == errno.ENOSPC else "runner"
                self._end(kept, cause, f"Rank {rank['rank']} could not be started: {error}.", 0.0)
                break
            kept.ranks[pid] = str(rank["rank"])
            kept.sessions.add(pid)
        self._tell({"run": kept.key, "did": "started", "at": time.time(), "pids": list(kept.ranks)})

    def _end(self, kept: _Kept, cause: str, words: str, grace_s: float) -> None:
        """TERM now, KILL after the grace; asked again, the earlier time counts. The first cause stays."""
        if kept.cause is None and kept.failed is None:
            kept.cause, kept.words = cause, words
        if kept.kill_at is None and grace_s > 0:
            members = self._members(kept)
            trees.send(members, signal.SIGTERM)
            trees.send(members, signal.SIGCONT)  # one that is stopped would not hear it
        kill_at = time.monotonic() + grace_s
        kept.kill_at = kill_at if kept.kill_at is None else min(kept.kill_at, kill_at)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._owners.pop(pid, None)
            for kept in self._runs.values():
                if pid in kept.ranks:
                    self._rank_ended(kept, kept.ranks.pop(pid), Exit.of(status))
                    break

    def _rank_ended(self, kept: _Kept, rank: str, ended: Exit) -> None:
        kept.exits[rank] = ended
        if ended.code != 0 and kept.cause is None and kept.failed is None:
            kept.failed = rank
            if kept.ranks:
                self._end(kept, "exited", "", RANK_GRACE_S)

    def _advance(self) -> None:
        now = time.monotonic()
        for kept in list(self._runs.values()):
            over = kept.kill_at is not None and now >= kept.kill_at
            if kept.killing_since is None and (over or not kept.ranks):
                kept.killing_since = kept.rescan_at = now
            if kept.rescan_at is not None and now >= kept.rescan_at:
                self._kill(kept, now)

    def _kill(self, kept: _Kept, now: float) -> None:
        """One round: stop all so that none forks away, then kill; until none is left."""
        self._groups.close(kept.key)
        members = self._members(kept)
        if members and kept.killing_since is not None and now - kept.killing_since < _GIVE_UP_S:
            trees.send(members, signal.SIGSTOP)
            trees.send(list({*members, *self._members(kept)}), signal.SIGKILL)
            kept.rescan_at = now + _RESCAN_S
            return
        if kept.ranks and not members:  # killed, but not reaped yet: SIGCHLD is on its way
            kept.rescan_at = now + _RESCAN_S
            return
        del self._runs[kept.key]
        self._record(kept)
        self._groups.remove(kept.key)
        if not self._runs:
            # What hid whose it was (no variable, no session of ours) could not be ended with its run.
            trees.send(self._strays(), signal.SIGKILL)

    def _record(self, kept: _Kept) -> None:
        ended = judge(
            kept.exits,
            failed=kept.failed,
            asked=(kept.cause, kept.words) if kept.cause else None,
            oom=self._out_of_memory(kept),
            at=time.time(),
        )
        keep(kept.folder, ended)
        self._tell({"run": kept.key, "did": "ended", "ended": ended})

    def _out_of_memory(self, kept: _Kept) -> str | None:
        """Whether the kernel has killed for want of memory, in words: in its group, else on this machine."""
        used = self._groups.used(kept.key)
        if used is not None:
            return limits.memory_words(used.memory_peak_bytes, kept.limits) if used.oom_kills else None
        killed = kept.failed is not None and kept.exits[kept.failed].signal == "SIGKILL"
        if not killed or oom_kills() <= kept.oom_before:
            return None
        return f"Rank {kept.failed} was killed by the kernel: the machine ran out of memory. {kept.limits.hint}"

    def _members(self, kept: _Kept) -> list[int]:
        """The living processes of a run: its ranks, its orphans, all below them, and all in its group."""
        orphans = [pid for pid in trees.children(os.getpid()) if self._owner(pid) == kept.key]
        roots = [*kept.ranks, *orphans]
        found = [*roots, *(pid for root in roots for pid in trees.descendants(root)), *self._groups.pids(kept.key)]
        return [pid for pid in dict.fromkeys(found) if trees.is_alive(pid)]

    def _owner(self, pid: int) -> str | None:
        """Whose orphan a child of ours is: by its environment, its session, or because there is one run only."""
        if any(pid in kept.ranks for kept in self._runs.values()):
            return None
        if pid not in self._owners:
            key = trees.variable(pid, trees.RUN_KEY) or self._owner_by_session(pid)
            if key is None and len(self._runs) == 1:
                key = next(iter(self._runs))
            if key is None:
                return None
            self._owners[pid] = key
        return self._owners[pid]

    def _owner_by_session(self, pid: int) -> str | None:
        fields = trees.stat(pid)
        session = int(fields[3]) if fields else 0
        return next((kept.key for kept in self._runs.values() if session in kept.sessions), None)

    def _end_strays(self) -> None:
        """Whatever is still below us when no run is left belongs to none that lives."""
        for _ in range(100):
            strays = self._strays()
            if not strays:
                return
            trees.send(strays, signal.SIGKILL)
            self._reap()
            time.sleep(_RESCAN_S)

    def _strays(self) -> list[int]:
        return [pid for pid in trees.descendants(os.getpid()) if trees.is_alive(pid)]

    def _tell(self, message: Mapping[str, Any]) -> None:
        if not self._open:
            return
        try:
            messages.send(self._link, message)
        except OSError:
            pass  # the link is gone: the next read says so, and the record is on disk

    def _patience(self) -> float | None:
        waits = (kept.rescan_at if kept.killing_since is not None else kept.kill_at for kept in self._runs.values())
        times = [at for at in waits if at is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None


def _ignore(number: int, frame: FrameType | None) -> None:
    """SIGCHLD has a handler only so that it wakes the selector."""


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 4096):
            pass
    except BlockingIOError:
        pass
