"""A job followed on the terminal: log lines on stdout, everything else on stderr."""

import re
import sys
from typing import Any

from ultramarine.cli.command import FAILED, INTERRUPTED, OK, Call
from ultramarine.cli.talk import Talk
from ultramarine.sdk.sse import Event

LOG = "std_log.txt"  #: what the ranks write; other files tell of the preparation
_HOW_FAR = re.compile(r"\d+")


def follow(call: Call, job: dict[str, Any]) -> int:
    """Print until the job ends. The exit code says how; Ctrl-C ends the following, not the job."""
    name, followed = str(job["name"]), _Followed(job, call.talk)
    try:
        for event in call.workspace.jobs.stream(name):
            followed.tell(event)
    except KeyboardInterrupt:
        call.talk.say(
            f"\nJob {name} goes on.\n  next: um job stream -n {name} follows it again, um job cancel -n {name} ends it"
        )
        return INTERRUPTED
    finally:
        call.talk.make_way()
    if followed.status == "Completed":
        return OK
    call.talk.say(f"  next: um job explain -n {name}")
    return FAILED


class _Followed:
    """What was printed of a job so far."""

    def __init__(self, job: dict[str, Any], talk: Talk) -> None:
        self.talk = talk
        self.name = str(job["name"])
        self.status = str(job["status"])
        self.reason = ""
        self.attempt = 1
        self.steps: dict[str, str] = {}  #: of each node, what it was said to prepare
        resources: dict[str, Any] = job.get("resources") or {}
        distribution: dict[str, Any] = job.get("distribution") or {}
        each_node = int(distribution.get("process_count_per_instance", 1))
        tasks = int(distribution.get("worker_count") or 0) + int(distribution.get("parameter_server_count", 0))
        self.has_ranks = max(int(resources.get("instance_count", 1)) * each_node, tasks) > 1

    def tell(self, event: Event) -> None:
        """Print a log event to stdout, and what other events say to stderr."""
        data = event.data
        if event.kind in ("status", "end"):
            self._moved(data)
        elif event.kind == "log" and data["file"] == LOG:
            prefix = f"[rank {data['rank']}] " if self.has_ranks else ""
            self.talk.make_way()
            sys.stdout.write("".join(prefix + line for line in str(data["text"]).splitlines(keepends=True)))
            sys.stdout.flush()
        elif event.kind == "log":
            for line in str(data["text"]).splitlines():
                self._prepared(str(data["rank"]), line.rstrip())

    def _prepared(self, rank: str, line: str) -> None:
        """What a runner says of its preparation: passing words. Where nobody looks, a line for each step."""
        step = _HOW_FAR.sub("", line)
        if self.talk.is_watched or step != self.steps.get(rank):
            self.talk.passing(f"[{rank}] {line}")
        self.steps[rank] = step

    def _moved(self, data: dict[str, Any]) -> None:
        status, reason, attempt = (
            str(data["status"]),
            str(data.get("reason") or ""),
            int(data.get("attempt") or self.attempt),
        )
        if (status, reason, attempt) == (self.status, self.reason, self.attempt):
            return
        again = f" (attempt {attempt})" if attempt > 1 else ""
        self.status, self.reason, self.attempt = status, reason, attempt
        self.talk.say(f"Job {self.name}: {status}{again}" + (f": {reason}" if reason else ""))
