"""The link: hears what is wanted, has it done, reports what is. One thread decides; the others only bring news."""

from __future__ import annotations

import contextlib
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import FrameType
from typing import Any, Callable

from . import desired, endings, limits, machine, messages, ports, spec, state, trees
from .cgroups import Groups
from .checkpoints import PATIENCE_S, Checkpoint
from .config import Config
from .exchange import Follower, Reporter
from .folders import Folders, tail
from .hello import Welcome
from .ledger import Ledger
from .logs import Listener, Shipper
from .nvml import Nvml
from .prepare import Preparer
from .starting import Starting
from .state import Event, Phase, Run, Step
from .unused import Collector
from .watch import Found, Watch
from .wire import Channel, Dismissed
from .work import Work, has_outputs

FLUSH_S = 30.0  #: how long an end waits for its last log byte
CLOSING_S = 90.0  #: how long a runner that ends itself waits for its last report to be accepted
EXIT_DONE, EXIT_KEEPER_DIED = 0, 5


@dataclass(frozen=True)
class Keeping:
    """The other half of the runner (its socket, its pid), and what the kernel and the GPUs are asked by."""

    socket: socket.socket
    pid: int
    groups: Groups
    nvml: Nvml | None


class Link:
    """Everything this runner knows. Its methods run in one thread, but for those that say otherwise."""

    def __init__(self, config: Config, welcome: Welcome, *, keeping: Keeping, address: str) -> None:
        self._config = config
        self._keeper = keeping.socket
        self._groups = keeping.groups
        self._nvml = keeping.nvml
        self._address = address
        self._token = welcome.token
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._runs = Ledger()
        self._etag = ""
        self._lease_until = welcome.sent_boot_s + welcome.lease_s
        self._closing_since: float | None = None
        self._last_change = 0
        self._accepted = 0
        self._exit: int | None = None
        self._when_closed = EXIT_DONE
        preparer = Preparer(config, self._connect)
        self._work = Work(preparer, self._dismissed)
        self._collector = Collector(config.cache, config.environments, uv=preparer.uv_here)
        self._follower = Follower(
            self._connect(), wanted=lambda raw: self._post(lambda: self._hear(raw)), dismissed=self._dismissed
        )
        self._reporter = Reporter(
            self._connect(),
            body=self._body,
            answered=lambda sent, answer, version: self._post(lambda: self._heard(sent, answer, version)),
            dismissed=self._dismissed,
            beat_s=welcome.beat_s,
        )
        self._shipper = Shipper(
            self._connect(),
            Listener(
                settled=lambda key: self._post(lambda: self._logs_settled(key)),
                over_limit=lambda key: self._post(lambda: self._over_log_limit(key)),
                dismissed=self._dismissed,
            ),
        )
        self._starting = Starting(config, self._runs, work=self._work, shipper=self._shipper, post=self._post)
        self._watch = Watch(
            config,
            keeper=keeping.pid,
            groups=keeping.groups,
            runs=self._runs.runs,
            tell=lambda found: self._post(lambda: self._tick(found)),
        )

    def serve(self) -> int:
        """Until the allocation is over; the exit code."""
        signal.signal(signal.SIGTERM, self._signalled)
        signal.signal(signal.SIGINT, self._signalled)
        threading.Thread(target=self._listen, name="keeper", daemon=True).start()
        for part in (self._follower, self._reporter, self._shipper, self._watch, self._collector):
            part.start()
        while self._exit is None:
            self._take(self._inbox.get())
            while not self._inbox.empty():
                self._take(self._inbox.get())
            if self._runs.is_changed:
                self._last_change = self._reporter.changed(is_urgent=self._runs.is_awaited)
                self._runs.is_changed = self._runs.is_awaited = False
            self._close_if_done()
        return self._exit

    def _take(self, news: Callable[[], None]) -> None:
        """The lease comes first. Who was asleep or stopped may hear at once that it is renewed, and hears it too late:
        what it ran may have been given to others."""
        now = machine.boot_s()
        if now > self._lease_until:
            ended = limits.of_lease(self._runs.runs(), limits.Node(now=now, lease_until=self._lease_until))
            for key, verdict in ended.items():
                self._end(self._runs[key], verdict.cause, verdict.words, verdict.grace_s)
        news()

    # From other threads

    def _post(self, news: Callable[[], None]) -> None:
        self._inbox.put(news)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._post(self._asked_to_exit)

    def _dismissed(self, error: Dismissed) -> None:
        self._post(lambda: self._leave(error))

    def _listen(self) -> None:
        for message in messages.Reader(self._keeper):
            self._post(lambda message=message: self._kept(message))
        self._post(self._keeper_died)

    def _connect(self) -> Channel:
        return Channel(self._config.url, ca=self._config.ca, token=self._token)

    def _body(self) -> Mapping[str, Any]:
        """The reported state. From the reporter's thread: runs are never changed, only replaced."""
        runs = self._runs.runs()
        config = self._config
        gpus = sorted({*config.gpus, *(gpu for run in runs if run.spec for gpu in run.spec.gpus or ())})
        used = self._nvml.use(gpus) if self._nvml else ()
        return {
            "etag": self._etag,
            "runs": {run.key: state.report(run) for run in runs},
            "node": machine.load_now(config.folder, used, cache=config.cache, reserve_bytes=config.disk_reserve_bytes),
        }

    # What is wanted

    def _hear(self, answer: Mapping[str, Any]) -> None:
        gpus = self._config.gpus
        orders = {order.key: order for order in desired.read(answer["runs"], known=self._runs, gpus=gpus)}
        for key, order in orders.items():
            if key in self._runs:
                self._runs.put(state.wanting(self._runs[key], order.wanted))
            elif self._closing_since is None and not self._runs.was_forgotten(key):
                self._starting.adopt(order, address=self._address, prepared=self._advance)
        for key in self._runs:
            if key not in orders:
                run = self._runs[key]
                # What is left of the grace: the keeper holds the deadline of an end that was asked for before.
                self._runs.put(state.wanting(run, replace(run.wanted, phase="absent")))
            self._advance(key)
        self._etag = str(answer["etag"])  # last: a report that names it knows all that it wants
        self._runs.is_changed = True

    def _advance(self, key: str) -> None:
        """Do what is to be done next about a run."""
        run = self._runs[key]
        step = state.step(run, lease_over=machine.boot_s() > self._lease_until)
        if step is Step.START:
            self._start(run)
        elif step is Step.GIVE_UP:
            self._starting.give_up(key, "stopped", "Stopped before it had started.")
        elif step is Step.END:
            self._end(run, "stopped", "Stopped, as asked.", run.wanted.grace_s)
        elif step is Step.FORGET:
            self._forget(key)

    def _start(self, run: Run) -> None:
        try:
            order = self._starting.launch(run)
        except spec.BadSpec as error:
            self._starting.give_up(run.key, "input", str(error))
            return
        self._runs.apply(run.key, Event.LAUNCHED)
        self._tell_keeper({"do": "start", "run": run.key, **order})

    def _end(self, run: Run, cause: str, words: str, grace_s: float) -> None:
        """End a run, however far it is; asked again, the shorter grace counts and the first cause stays."""
        if run.phase in (Phase.PREPARING, Phase.READY):
            self._starting.give_up(run.key, cause, words)
        if not run.has_ranks:
            return
        self._runs.change(run.key, ending_asked=True)
        self._tell_keeper({"do": "end", "run": run.key, "cause": cause, "words": words, "grace_s": grace_s})

    def _tell_keeper(self, message: Mapping[str, Any]) -> None:
        try:
            messages.send(self._keeper, message)
        except OSError:
            return  # it is dead: the listener says so

    # What the keeper says

    def _kept(self, message: Mapping[str, Any]) -> None:
        key = message["run"]
        if message["did"] == "started":
            now = machine.boot_s()
            self._runs.apply(
                key, Event.STARTED, pids=tuple(message["pids"]), started_at=message["at"], started_boot_s=now
            )
            self._watch.hurry()
            self._advance(key)
        elif message["did"] == "ended":
            self._ranks_ended(key, message["ended"])

    def _ranks_ended(self, key: str, ended: dict[str, Any]) -> None:
        run = self._runs[key]
        folders = Folders.of(self._config.folder, key)
        rank = ended["rank"] if ended["rank"] is not None else min(map(int, ended["ranks"]), default=0)
        ended["tail"] = tail(folders.rank_log(rank)) if ended["cause"] != "completed" else ""
        port = ports.taken(ended["tail"], (*run.ports, *((run.meeting.master or ())[1:])))
        if ended["cause"] == "exited" and port is not None:
            ended.update(cause="port", words=f"The port {port}, held for this run, was taken in between.")
        if not self._runs.apply(key, Event.RANKS_ENDED, ending=ended, pids=(), ended_boot_s=machine.boot_s()):
            return
        checkpoint = self._starting.checkpoint(key)
        if checkpoint is None or not checkpoint.may_be_new:
            self._send_outputs(key)
            return
        until = machine.boot_s() + PATIENCE_S
        self._work.keep(
            checkpoint,
            should_go_on=lambda: machine.boot_s() < min(until, self._lease_until),
            done=lambda: self._post(lambda: self._last_kept(key, checkpoint)),
        )

    def _last_kept(self, key: str, checkpoint: Checkpoint) -> None:
        self._checkpoint_kept(key, checkpoint)
        run = self._runs[key]
        if checkpoint.kept.problem and run.ending is not None:
            words = f"{run.ending['words']} {checkpoint.kept.problem}".strip()
            self._runs.change(key, ending={**run.ending, "words": words})
        self._send_outputs(key)

    def _send_outputs(self, key: str) -> None:
        run, folders = self._runs[key], Folders.of(self._config.folder, key)
        if run.spec and not run.spec.is_service and has_outputs(run.spec, folders):
            self._work.send(
                run.spec,
                folders,
                self._starting.notes(key),
                should_go_on=lambda: machine.boot_s() < self._lease_until,
                done=lambda sent, wrong: self._post(lambda: self._outputs_sent(key, sent, wrong)),
            )
        else:
            self._outputs_sent(key, {}, None)

    def _outputs_sent(self, key: str, sent: Mapping[str, str], wrong: str | None) -> None:
        ended = dict(self._runs[key].ending or {}, outputs=dict(sent))
        if wrong is not None and ended["cause"] == "completed":
            ended.update(cause="runner", words=f"It completed, but its outputs were lost: {wrong}")
        if self._runs.apply(key, Event.OUTPUTS_SENT, ending=ended, ended_boot_s=machine.boot_s()):
            self._shipper.finish(key)

    def _logs_settled(self, key: str) -> None:
        if key not in self._runs:
            return
        self._runs.change(key, logs_settled=True)
        self._runs.apply(key, Event.LOGS_SENT)
        self._advance(key)

    def _forget(self, key: str) -> None:
        self._shipper.forget(key)
        self._runs.forget(key)
        self._work.remove(self._starting.forget(key))

    # Checkpoints

    def _keep_checkpoints(self) -> None:
        """Of runs that are going on, once in a while; what fails is tried again at the next look."""
        for run in self._runs.runs():
            checkpoint = self._starting.checkpoint(run.key) if run.has_ranks else None
            if checkpoint is not None and checkpoint.is_due(machine.boot_s()):
                self._keep_checkpoint(run.key, checkpoint)

    def _keep_checkpoint(self, key: str, checkpoint: Checkpoint) -> None:
        self._work.keep(
            checkpoint,
            should_go_on=lambda: False,
            done=lambda: self._post(lambda: self._checkpoint_kept(key, checkpoint)),
        )

    def _checkpoint_kept(self, key: str, checkpoint: Checkpoint) -> None:
        """Report what is kept by now: a look that ended before another may be heard of after it."""
        kept = asdict(checkpoint.kept)
        if key in self._runs and self._runs[key].checkpoint != kept:
            self._runs.change(key, checkpoint=kept)
            self._runs.is_changed = True

    # Limits and the lease

    def _tick(self, found: Found) -> None:
        self._keep_checkpoints()
        for key, samples in found.samples.items():
            if key in self._runs:
                self._runs.change(key, samples=samples, ranks=found.ranks[key])
        now = machine.boot_s()
        node = limits.Node(
            now=now,
            lease_until=self._lease_until,
            memory_bytes=self._config.memory_bytes,
            disk=found.disk,
        )
        for key, verdict in limits.verdicts(self._runs.runs(), node).items():
            self._end(self._runs[key], verdict.cause, verdict.words, verdict.grace_s)
        for key in self._runs:
            run = self._runs[key]
            if run.phase is Phase.FLUSHING and run.ended_boot_s is not None and now - run.ended_boot_s > FLUSH_S:
                self._runs.apply(key, Event.LOGS_SENT)
                self._advance(key)

    def _over_log_limit(self, key: str) -> None:
        run = self._runs.get(key)
        if run is not None and run.spec and not run.ending_asked:
            self._end(run, "log_limit", limits.log_words(run.spec.limits), 0.0)

    def _heard(self, sent_boot_s: float, answer: Mapping[str, Any], version: int) -> None:
        self._accepted = max(self._accepted, version)
        was_over = machine.boot_s() > self._lease_until
        self._lease_until = max(self._lease_until, sent_boot_s + float(answer["lease_s"]))
        for key in answer.get("fenced") or ():
            run = self._runs.get(key)
            if run is not None:
                self._end(run, "stopped", "Fenced: the control plane has given this run up.", 0.0)
        if was_over:
            for key in self._runs:
                self._advance(key)

    # The end of the runner

    def _asked_to_exit(self) -> None:
        """SIGTERM: end the runs within their grace. A second one: at once."""
        grace = None if self._closing_since is None else 0.0
        self._begin_closing(grace, "The runner was asked to end.")

    def _begin_closing(self, grace_s: float | None, words: str, cause: str = "stopped") -> None:
        self._closing_since = self._closing_since or machine.boot_s()
        self._runs.is_changed = self._runs.is_awaited = True
        for run in self._runs.runs():
            self._end(run, cause, words, run.wanted.grace_s if grace_s is None else grace_s)

    def _leave(self, error: Dismissed) -> None:
        """401 or 410: nobody wants to hear of this node any more. End everything, then exit."""
        print(f"runner: {error}", file=sys.stderr, flush=True)
        self._exit = EXIT_DONE

    def _keeper_died(self) -> None:
        """End what it left behind: by the run keys, and as its orphans became ours."""
        words = "The runner's keeper process died: the link ended the run."
        self._when_closed = EXIT_KEEPER_DIED
        self._begin_closing(0.0, words, "runner")
        for key in self._runs:
            run = self._runs[key]
            if run.has_ranks:
                self._groups.close(key)
                with contextlib.suppress(TimeoutError):  # an uninterruptible wait: what is left is ended at our exit
                    trees.end_run(key)
                    self._groups.end(key)
                ended = state.ending("runner", words, at=time.time())
                endings.keep(str(Folders.of(self._config.folder, key).root), ended)
                self._ranks_ended(key, ended)

    def _close_if_done(self) -> None:
        if self._closing_since is None:
            return
        done = all(run.phase is Phase.ENDED for run in self._runs.runs()) and self._accepted >= self._last_change
        if (done and not self._runs.is_changed) or machine.boot_s() - self._closing_since > CLOSING_S:
            self._exit = self._when_closed
