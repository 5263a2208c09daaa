"""`um status`: what an installation runs, and the parts of one that is on this machine; `um leftovers`."""

import sys
from pathlib import Path
from typing import Any

from ultramarine.cli.command import FAILED, OK, Call
from ultramarine.cli.output import Column
from ultramarine.domain.errors import NotAllowed, UltramarineError, Unavailable
from ultramarine.sdk.connection import home, is_named, of_home
from ultramarine.sdk.workspace import Workspace

if sys.platform == "linux":  # the client is for every system
    from ultramarine.supervision import commands

PARTS = (
    Column("part", "part"),
    Column("state", "state"),
    Column("pid", "pid"),
    Column("restarts", "restarts"),
    Column("why", "why"),
)
RUNS = (Column("noun", "noun"), Column("name", "name"), Column("workspace", "workspace"), Column("status", "status"))
LEFTOVERS = (Column("pool", "pool"), Column("key", "key"), Column("what", "words"))


def status(call: Call) -> int:
    folder = home_of(call)
    parts = [
        {
            "part": each.name,
            "state": str(each.phase),
            "pid": each.pid,
            "restarts": each.restarts,
            "why": each.why,
            "log": each.log,
        }
        for each in (commands.parts(folder) if sys.platform == "linux" else [])
    ]
    is_here = bool(call.args.home) or not is_named(call.args.url)
    if not is_here and not parts:
        return _status_elsewhere(call)
    seen: dict[str, Any] = {}
    problem: UltramarineError | None = None
    try:
        workspace = Workspace(of_home(folder)) if call.args.home else call.workspace
        seen = workspace.installation.status()
    except UltramarineError as error:
        problem = error
    if call.is_table:
        _print(call, folder, parts, seen)
    else:
        call.show({"home": str(folder), "parts": parts} | seen)
    if problem is not None and is_here and not any(part["pid"] for part in parts):
        problem = Unavailable(f"Ultramarine does not run in {folder}.", hint="um up -d")
    if problem is not None:
        raise problem
    return OK


def _status_elsewhere(call: Call) -> int:
    """Of a server that was named, and nothing of it is on this machine."""
    try:
        seen = call.workspace.installation.status()
    except NotAllowed as refused:
        refused.hint = f"Of the workspace there are um job list, um compute list, um event list. {refused.hint}"
        raise
    if call.is_table:
        _print_runs(call, seen["runs"])
    else:
        call.show(seen)
    return OK


def leftovers(call: Call) -> int:
    found = list(call.workspace.installation.leftovers())
    call.show(found, LEFTOVERS)
    if found:
        call.talk.problem(
            f"{len(found)} left over.", hint="The next turns end what no row knows; what stays so: um status, and logs."
        )
    return FAILED if found else OK


def _print(call: Call, folder: Path, parts: list[dict[str, Any]], seen: dict[str, Any]) -> None:
    call.talk.say(f"home {folder}")
    call.show(parts, PARTS)
    call.talk.say(f"logs {folder / 'logs'}: one file a part")
    if seen:
        call.talk.say("")
        _print_runs(call, seen["runs"])


def _print_runs(call: Call, runs: list[dict[str, Any]]) -> None:
    call.talk.say(f"{len(runs)} running or queued" + (":" if runs else "."))
    if runs:
        call.show(runs, RUNS)


def home_of(call: Call) -> Path:
    """The folder of the installation that is meant."""
    given: Path | None = call.args.home
    return given.absolute() if given else home()
