"""A job followed on the terminal: log lines on stdout, everything else on stderr."""

import sys
from typing import Any

from ultramarine.cli.command import FAILED, INTERRUPTED, OK, Call
from ultramarine.sdk.sse import Event

LOG = "std_log.txt"  #: what the ranks write; other files tell of the preparation


def follow(call: Call, job: dict[str, Any]) -> int:
    """Print until the job ends. The exit code says how; Ctrl-C ends the following, not the job."""
    name, followed = str(job["name"]), _Followed(job)
    try:
        for event in call.workspace.jobs.stream(name):
            for line in followed.told(event):
                call.talk.say(line)
    except KeyboardInterrupt:
        call.talk.say(
            f"\nJob {name} goes on.\n  next: um job stream -n {name} follows it again, um job cancel -n {name} ends it"
        )
        return INTERRUPTED
    if followed.status == "Completed":
        return OK
    call.talk.say(f"  next: um job explain -n {name}")
    return FAILED


class _Followed:
    """What was printed of a job so far."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.name = str(job["name"])
        self.status = str(job["status"])
        self.reason = ""
        self.attempt = 1
        resources: dict[str, Any] = job.get("resources") or {}
        distribution: dict[str, Any] = job.get("distribution") or {}
        ranks = int(resources.get("instance_count", 1)) * int(distribution.get("process_count_per_instance", 1))
        self.has_ranks = ranks > 1

    def told(self, event: Event) -> list[str]:
        """Print a log event to stdout; the lines of other events are for stderr."""
        data = event.data
        if event.kind != "log":
            return self._moved(data) if event.kind in ("status", "end") else []
        lines = str(data["text"]).splitlines(keepends=True)
        if data["file"] != LOG:
            return [f"[{data['rank']}] {line.rstrip()}" for line in lines]
        prefix = f"[rank {data['rank']}] " if self.has_ranks else ""
        sys.stdout.write("".join(prefix + line for line in lines))
        sys.stdout.flush()
        return []

    def _moved(self, data: dict[str, Any]) -> list[str]:
        status, reason, attempt = (
            str(data["status"]),
            str(data.get("reason") or ""),
            int(data.get("attempt") or self.attempt),
        )
        if (status, reason, attempt) == (self.status, self.reason, self.attempt):
            return []
        again = f" (attempt {attempt})" if attempt > 1 else ""
        self.status, self.reason, self.attempt = status, reason, attempt
        return [f"Job {self.name}: {status}{again}" + (f": {reason}" if reason else "")]
