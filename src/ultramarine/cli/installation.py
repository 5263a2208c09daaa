"""`um up`, `um down`, `um status`: the installation on this machine."""

import json
import os
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ultramarine.cli.command import FAILED, OK, Call, Command, Group, Option
from ultramarine.cli.entering import hand_over
from ultramarine.cli.status import home_of, leftovers, status
from ultramarine.domain.database import password, without_password
from ultramarine.domain.errors import (
    Conflict,
    InvalidInput,
    NotSupportedYet,
    StandsBy,
    UltramarineError,
    Unavailable,
)
from ultramarine.sdk.connection import (
    DATABASE_URL,
    DEFAULT_PORT,
    instances_port,
    listen,
    of_home,
    port,
    second_port,
)
from ultramarine.sdk.workspace import Workspace

if sys.platform == "linux":  # the client is for every system
    from ultramarine.supervision import commands

PAGES = {"mlflow": "/mlflow/"}
DRAIN_WITHIN_S = 120.0
LOOK_S = 0.3
TELL_S = 15.0  #: between two words of what has not ended
NAMED_MAX = 3
GRACE_S = 10.0
HOME = Option(
    "--home",
    "folder of the installation; else ULTRAMARINE_HOME, else in the user's data folder",
    "path",
    metavar="FOLDER",
)
DATABASE = Option(
    "--database",
    "where the store is, e.g. postgresql://USER@HOST/NAME, without a password; else ULTRAMARINE_DATABASE_URL, else "
    "where it was at the last start, else a SQLite file in the home",
    metavar="URL",
)
INSTANCE = "instance"
PAGE = Option("--name -n", f"which page: {', '.join(PAGES)}, {INSTANCE}; it may also stand without -n", is_bare=True)
OF_INSTANCE = Option(
    "--instance", "name of the instance; it may also stand alone, after the word instance", is_bare=True
)


def up(call: Call) -> int:
    check_server_can_run()
    folder = home_of(call)
    choose_database(call.args.database or "", folder)
    listening = _listening(call)
    running = commands.running(folder) if call.args.detach else None
    if running is not None:
        _check_same(call, running, listening, folder)
    code = commands.start(folder, listening, detach=call.args.detach)
    if code == OK and call.args.detach:
        is_up = "is up" if running is None else "is up already"
        found = commands.running(folder)
        at = listening.port if found is None else found.port
        call.talk.say(
            f"Ultramarine {is_up} at http://127.0.0.1:{at}, home {folder}.\n  next: um job create -f job.yml --stream"
        )
        if found is not None and found.listen:
            call.talk.say(f"\nBy TLS at {found.listen}. {commands.elsewhere(folder)}")
        _tell_standing(call, folder)
    return code


def _tell_standing(call: Call, folder: Path) -> None:
    """Of several servers one leads, and the others say which."""
    if DATABASE_URL in os.environ:
        try:
            Workspace(of_home(folder)).installation.status()
        except StandsBy as standing:
            call.talk.say(f"\n{standing} {standing.hint}")
        except UltramarineError:
            pass  # it may be about to lead


def choose_database(given: str, folder: Path) -> None:
    """Tell the programs of the server where the store of this home is."""
    if password(given):
        raise InvalidInput(
            f"--database {without_password(given)}: with a password in it every user of this machine would see it.",
            hint=f"Leave it out, and write it into ~/.pgpass; or set {DATABASE_URL} to the whole.",
        )
    if where := given or os.environ.get(DATABASE_URL) or commands.last_database(folder):
        os.environ[DATABASE_URL] = where


def _listening(call: Call) -> "commands.Listening":
    """Where it shall listen: as was said, else as the environment says."""
    said = vars(call.args)  # um down has none of these options
    first = said.get("port") or port()
    second = said.get("second_port") or second_port(first)
    third = said.get("instances_port") or instances_port(first, second)
    if second == first:
        raise InvalidInput(
            f"Port {first} cannot be both: what is asked, and the second origin.", hint="Leave out --second-port."
        )
    if third in (first, second):
        raise InvalidInput(
            f"Port {third} cannot be both: another origin, and that of instances.", hint="Leave out --instances-port."
        )
    try:
        text = ",".join(said.get("listen", ())) or listen()
        return commands.Listening.parse(text, port=first, second_port=second, instances_port=third)
    except commands.CannotStart as error:
        raise InvalidInput(str(error), hint=error.hint) from error


def _check_same(call: Call, running: "commands.Holder", listening: "commands.Listening", folder: Path) -> None:
    """It runs already: what was said of its ports and its store must be so."""
    for flag, wanted, there in (
        ("--port", call.args.port, running.port),
        ("--second-port", call.args.second_port, running.second_port),
        ("--instances-port", call.args.instances_port, running.instances_port),
        ("--listen", str(listening) if call.args.listen else None, running.listen),
        ("--database", call.args.database, commands.last_database(folder)),
    ):
        if wanted not in (None, there):
            raise Conflict(
                f"{flag} {wanted}: Ultramarine already runs in {folder}, with {flag} {there or 'nothing'}.",
                hint="um status shows it; um down --keep-runs ends it and leaves what runs, um up -d starts it anew.",
            )


def down(call: Call) -> int:
    check_server_can_run()
    folder = home_of(call)
    choose_database("", folder)
    if not any(part.pid for part in commands.parts(folder)):
        call.talk.say(f"Ultramarine does not run in {folder}.")
        code = commands.stop(folder, GRACE_S)
        if call.args.keep_runs or not _has_nodes(folder):
            return code
        call.talk.say("Nodes of it run on: it is started once more, to end them.")
        there = commands.last_listening(folder) or _listening(call)
        if (code := commands.start(folder, there, detach=True)) != OK:
            return code
    is_drained = call.args.keep_runs or _drained(call, folder, within_s=call.args.timeout)
    code = commands.stop(folder, GRACE_S)
    if code == OK:
        call.talk.say(
            "Ultramarine is down."
            + (" What runs goes on until it is up again, or its lease is over." if call.args.keep_runs else "")
        )
    return code or (OK if is_drained else FAILED)


def _has_nodes(folder: Path) -> bool:
    """Whether machines are held: kept when it was taken down, or when its supervisor was killed."""
    nodes = folder / "nodes"
    return (nodes.is_dir() and any(nodes.iterdir())) or any(map(_has_machines, folder.glob("*/fleet.json")))


def _has_machines(fleet: Path) -> bool:
    """Whether a provider of machines has told of some, when it was last heard."""
    try:
        return any(json.loads(fleet.read_text(encoding="utf-8"))["nodes"].values())
    except (OSError, ValueError, KeyError):
        return False


def _drained(call: Call, folder: Path, *, within_s: float) -> bool:
    """Say what runs, ask it to end, wait for that (and for a server that is started again); whether all has ended."""
    deadline = time.monotonic() + within_s
    is_told, why, told_at = False, "", time.monotonic()
    with call.talk.spinning("Ending what runs") as words:
        while time.monotonic() < deadline and any(part.pid for part in commands.parts(folder)):
            try:
                installation = Workspace(of_home(folder)).installation
                if not is_told:
                    _tell(call, installation.status())
                    is_told = True
                left = installation.drain()
            except StandsBy:
                return True  # what runs is the leader's
            except Unavailable as error:
                why = str(error)
            except UltramarineError as error:
                why = str(error)
                break
            else:
                if not (there := still_there(left)):
                    return True
                words[0] = f"Ending what runs: {there}"
                why = f"Within {within_s:g} s these did not end: {there}."
                if time.monotonic() - told_at > TELL_S:
                    call.talk.say(f"  still there: {there}")
                    told_at = time.monotonic()
            time.sleep(LOOK_S)
    call.talk.problem(
        f"Not all that runs is known to have ended. {why}",
        hint="Jobs end by themselves when their lease is over; um up shows what is left.",
    )
    return False


def still_there(left: Mapping[str, Any]) -> str:
    """What has not ended, the first few by name; nothing where all has."""
    runs = [f"{run['noun']} {run['name']} ({run['status']})" for run in left["runs"]]
    nodes = [f"node {each['key']} of {each['compute']} ({each['status']})" for each in left["allocations"]]
    count = left.get("machines", 0)
    named = [*runs, *nodes, *([f"{count} machine{'s' * (count > 1)} of the provider"] if count else [])]
    more = [f"{len(named) - NAMED_MAX} more"] if len(named) > NAMED_MAX else []
    return ", ".join([*named[:NAMED_MAX], *more])


def _tell(call: Call, running: dict[str, Any]) -> None:
    for run in running["runs"]:
        call.talk.say(f"  {run['noun']} {run['name']} ({run['workspace']}): {run['status']}")


def open_(call: Call) -> int:
    """A link that signs a browser in to pages which show what people's scripts have made, or to an instance."""
    page, instance = call.args.name, call.args.instance
    if page not in (*PAGES, INSTANCE):
        raise InvalidInput(f"um open {page}: there is no such page.", hint=f"Pages: {', '.join(PAGES)}, {INSTANCE}.")
    if (page == INSTANCE) != bool(instance):
        said = f"{page} {instance}: only an instance has a name" if instance else "instance: it needs a name"
        raise InvalidInput(f"um open {said}.", hint="um open mlflow, or um open instance NAME")
    if instance:
        link = call.workspace.computes.connect(instance)
    else:
        link = call.workspace.installation.login_link(PAGES[page], workspace=call.workspace.name)
    hand_over(call, link, opens=not call.args.print_only)
    return OK


def check_server_can_run() -> None:
    """Raise `NotSupportedYet` where only the client is or can be."""
    if sys.platform != "linux":
        raise NotSupportedYet(
            f"The server runs on Linux, and this is {sys.platform}; the client works here.",
            hint="Name a server: export ULTRAMARINE_URL=http://HOST:PORT ULTRAMARINE_TOKEN=TOKEN",
        )
    if find_spec("uvicorn") is None:
        raise NotSupportedYet(
            "Here is the client alone, as in every compute instance: the server's packages are not there.",
            hint="Type it on the server's machine, or install them: pip install 'ultramarine[server]'",
        )


GROUP = Group(
    noun="",
    summary="The installation on this machine.",
    commands=(
        Command(
            name="up",
            summary="Start Ultramarine on this machine; with -d, one that is up already is left as it is.",
            run=up,
            options=(
                Option("--detach -d", "in the background; returns when it is ready", "switch"),
                Option(
                    "--port",
                    f"port of 127.0.0.1; else ULTRAMARINE_PORT, else {DEFAULT_PORT}",
                    "number",
                ),
                Option(
                    "--second-port",
                    "port of pages that run people's code; else ULTRAMARINE_SECOND_PORT, else the one after --port",
                    "number",
                ),
                Option(
                    "--instances-port",
                    "port of compute instances; else ULTRAMARINE_INSTANCES_PORT, else the one after both the others",
                    "number",
                ),
                Option(
                    "--listen",
                    "address or name of this machine at which others are served, by TLS; may be given again; else "
                    "ULTRAMARINE_LISTEN, else this machine alone is served",
                    "many",
                    metavar="ADDRESS[:PORT]",
                ),
                DATABASE,
                HOME,
            ),
            example="um up -d",
        ),
        Command(
            name="down",
            summary="Say what still runs, end it, and stop Ultramarine on this machine.",
            run=down,
            options=(
                Option("--keep-runs", "leave running what runs", "switch"),
                Option("--timeout", "seconds that what runs may take to end", "number", default=int(DRAIN_WITHIN_S)),
                HOME,
            ),
            example="um down",
        ),
        Command(
            name="open",
            summary="Open a page in the browser, signed in.",
            run=open_,
            needs=("name",),
            options=(PAGE, OF_INSTANCE, Option("--print-only", "print the link, open nothing", "switch")),
            example="um open mlflow",
        ),
        Command(
            name="leftovers",
            summary="Compare the machines that are held with the rows; the exit code is 0 when they agree.",
            run=leftovers,
            example="um leftovers",
        ),
        Command(name="status", summary="Show what runs.", run=status, options=(HOME,), example="um status"),
    ),
)
