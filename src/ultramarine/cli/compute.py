"""`um compute …`"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ultramarine.cli import resource
from ultramarine.cli.command import FAILED, FILE, NAME, NO_WAIT, OK, SET, YES, Call, Command, Group, Option, of_one
from ultramarine.cli.entering import CONNECT
from ultramarine.cli.output import Column, ahead, size
from ultramarine.cli.resource import changes, document
from ultramarine.domain.errors import InvalidInput

MIN = Option("--min-instances", "fewest nodes", "number", field="min_instances")
MAX = Option("--max-instances", "most nodes", "number", field="max_instances")
IDLE = Option(
    "--idle-time-before-scale-down",
    "seconds after which an idle node goes",
    "number",
    field="idle_time_before_scale_down",
)
TYPE = Option(
    "--type -t", "kind of compute: amlcompute, inferencecluster or computeinstance, in any case", field="type"
)
SIZE = Option("--size", "size of each node; um compute list-sizes", field="size")
SHUTDOWN = Option(
    "--idle-time-before-shutdown-minutes",
    "minutes after which an instance that nobody uses stops",
    "number",
    field="idle_time_before_shutdown_minutes",
)
NO_WAIT_UP = Option("--no-wait", "do not wait until an instance answers", "switch")
CREATE = (FILE, SET, NAME, TYPE, SIZE, MIN, MAX, IDLE, SHUTDOWN)
UPDATE = (FILE, SET, NAME, MIN, MAX, IDLE, SHUTDOWN)
INSTANCE = "computeinstance"
COMPUTE_TYPES = ("amlcompute", "inferencecluster", INSTANCE)
UP, STOPPED = "Running", "Stopped"
COLUMNS = (
    Column("name", "name"),
    Column("type", "type"),
    Column("size", "size_used"),
    Column("state", "state"),
    Column("owner", "instance.owner"),
    Column("nodes", "nodes.total"),
    Column("busy", "nodes.busy"),
    Column("min", "min_instances"),
    Column("max", "max_instances"),
    Column("stops", "instance.stops_at", ahead),
)


def create(call: Call) -> int | None:
    body, folder = document(call, CREATE)
    if not body.get("name"):
        raise InvalidInput("The compute has no name.", hint="Write name: in the file, or give --name NAME.")
    if str(body.get("type", "")).lower() in COMPUTE_TYPES:  # Azure ML's command line says ComputeInstance, AmlCompute
        body["type"] = body["type"].lower()
    compute = call.workspace.computes.create_or_update(body, folder=folder)
    call.talk.note(compute)
    # One that somebody has stopped is changed, and stays as it is.
    if compute["type"] == INSTANCE and compute["state"] in ("Creating", "Starting"):
        return _come_up(call, compute)
    call.show(compute)
    return None


def start(call: Call) -> int | None:
    return _come_up(call, call.workspace.computes.start(call.args.name))


def restart(call: Call) -> int | None:
    return _come_up(call, call.workspace.computes.restart(call.args.name))


def resize(call: Call) -> int | None:
    compute = call.workspace.computes.resize(call.args.name, call.args.size)
    if compute["state"] in (UP, "Resizing", "Creating", "Starting"):
        return _come_up(call, compute)
    call.show(compute)
    return None


def stop(call: Call) -> int | None:
    compute = call.workspace.computes.stop(call.args.name)
    if not call.args.no_wait:
        with call.talk.spinning(_stands(compute)) as words:
            compute = call.workspace.computes.wait_stopped(call.args.name, tell=_telling(words))
        call.talk.say(_stands(compute))
    call.show(compute)
    return None if compute["state"] in (STOPPED, "Stopping") else FAILED


def keep_awake(call: Call) -> None:
    compute = call.workspace.computes.keep_awake(call.args.name, hours=call.args.hours)
    until = compute["instance"]["awake_until"]
    call.talk.say(
        f"{compute['name']} does not stop for want of use before {until}."
        if until
        else f"{compute['name']} stops for want of use as it is set."
    )
    call.show(compute)


def _come_up(call: Call, compute: dict[str, Any]) -> int | None:
    """Wait until an instance answers, but for `--no-wait`."""
    if not call.args.no_wait:
        with call.talk.spinning(_stands(compute)) as words:
            compute = call.workspace.computes.wait_up(compute["name"], tell=_telling(words))
        call.talk.say(_stands(compute))
    call.show(compute)
    if compute["state"] in ("SetupFailed", "Unusable", STOPPED):
        name = compute["name"]
        call.talk.problem(f"{name} has not come up: {compute['state']}.", hint=f"um compute explain -n {name}")
        return FAILED
    return None


def _telling(words: list[str]) -> Callable[[dict[str, Any]], None]:
    def tell(view: dict[str, Any]) -> None:
        words[0] = _stands(view)

    return tell


def _stands(view: dict[str, Any]) -> str:
    reason = str(view["instance"]["reason"] or "").splitlines()
    return f"Compute instance {view['name']}: {view['state']}" + (f": {reason[0]}" if reason else "")


def update(call: Call) -> None:
    folder = None if call.args.file is None else call.args.file.absolute().parent
    call.show(call.workspace.computes.update(call.args.name, changes(call, UPDATE), folder=folder))


def show(call: Call) -> None:
    compute = call.workspace.computes.get(call.args.name)
    if call.is_table and compute["instance"] is not None:
        _say_end(call, compute["name"], compute["instance"]["stops_at"])
    call.show(compute)


def list_(call: Call) -> None:
    call.show(call.workspace.computes.list(), COLUMNS)


def delete(call: Call) -> int | None:
    name, computes = call.args.name, call.workspace.computes
    return resource.delete(
        call,
        resource.Deletion(
            what=f"the compute {name}, with what runs on it",
            title=f"Compute {name}",
            look=lambda: computes.get(name),
            delete=lambda: computes.delete(name),
            wait=lambda: computes.wait_gone(name),
        ),
    )


def explain(call: Call) -> None:
    view = call.workspace.computes.explain(call.args.name)
    if not call.is_table:
        call.show(view)
        return
    if view["instance"] is not None:
        _explain_instance(call, view["name"], view["instance"])
        return
    first = view["waiting"]["first"]
    call.talk.say(f"{view['name']}: {view['min_instances']} to {view['max_instances']} nodes")
    if first is not None:
        call.talk.say(f"{view['waiting']['count']} waiting, the first is {first['name']}: {first['reason']}")
    if view["starts"] != "possible":
        call.talk.say(view["starts"])
    columns = (Column("name", "name"), Column("status", "status"), Column("runs", "runs"), Column("reason", "reason"))
    call.show(view["nodes"], columns)


def _explain_instance(call: Call, name: str, view: dict[str, Any]) -> None:
    call.talk.say(f"{name}: {view['state']}" + (f": {view['reason']}" if view["reason"] else ""))
    if view["why"]:
        call.talk.say(view["why"])
    _say_end(call, name, view["stops_at"])
    if view["next"] is not None:
        call.talk.say(f"Its schedule: {view['next']['action']} at {view['next']['at']}")


def _say_end(call: Call, name: str, stops_at: str | None) -> None:
    if stops_at is not None:
        call.talk.say(f"It stops {ahead(stops_at)}. Keep it: um compute keep-awake -n {name} --hours 8")


def replay(call: Call) -> int:
    installation = call.workspace.installation
    if call.args.save is not None:
        call.args.save.write_text(json.dumps(installation.trace()), encoding="utf-8")
        call.talk.say(f"The last turns are in {call.args.save}. They name the jobs of every workspace.")
        return OK
    found = installation.replay(None if call.args.trace_file is None else _trace(call.args.trace_file))
    lines = ({"at": turn["at"], "same": turn["is_same"], "decided": line} for turn in found for line in turn["decided"])
    columns = (Column("at", "at"), Column("same", "same"), Column("decided", "decided"))
    call.show(lines if call.is_table else found, columns)
    different = sum(not turn["is_same"] for turn in found)
    call.talk.say(f"{len(found)} turns, {different} of them are decided differently now")
    return FAILED if different else OK


def _trace(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"--trace-file {path}: {error}.", hint="Make one with: um compute replay --save FILE"
        ) from None


def list_nodes(call: Call) -> None:
    columns = (
        Column("name", "name"),
        Column("status", "status"),
        Column("runs", "runs"),
        Column("since", "since"),
        Column("limits", "limits"),
        Column("reason", "reason"),
    )
    call.show(call.workspace.computes.nodes(call.args.name), columns)


def list_sizes(call: Call) -> None:
    columns = (
        Column("name", "name"),
        Column("cpus", "cpus"),
        Column("memory", "memory_bytes", size),
        Column("gpus", "gpus"),
        Column("fits", "fits"),
        Column("aliases", "aliases"),
    )
    call.show(call.workspace.computes.sizes(), columns)


def list_usage(call: Call) -> None:
    columns = (
        Column("host", "host"),
        Column("of", "name"),
        Column("promised", "current_value"),
        Column("limit", "limit"),
    )
    call.show(call.workspace.computes.usage(), columns)


GROUP = Group(
    noun="compute",
    summary="Compute targets: where work can run.",
    commands=(
        Command(
            name="create",
            summary="Create a compute from a YAML file, or from options.",
            run=create,
            options=(*CREATE, NO_WAIT_UP),
            example="um compute create -f cluster.yml",
        ),
        of_one("compute", "start", "Start a compute instance.", run=start, more=(NO_WAIT_UP,)),
        of_one("compute", "stop", "Stop a compute instance; its home folder stays.", run=stop, more=(NO_WAIT,)),
        of_one("compute", "restart", "Stop a compute instance, and start it again.", run=restart, more=(NO_WAIT_UP,)),
        Command(
            name="resize",
            summary="Give a compute instance a machine of another size; its home folder stays.",
            run=resize,
            options=(NAME, Option("--size", "its new size; um compute list-sizes", is_required=True), NO_WAIT_UP),
            needs=("name",),
            example="um compute resize -n NAME --size cpu-2",
        ),
        Command(
            name="keep-awake",
            summary="Let a compute instance not stop by itself for some hours.",
            run=keep_awake,
            options=(NAME, Option("--hours", "hours from now; 0 takes it back", "number", default=8)),
            needs=("name",),
            example="um compute keep-awake -n NAME --hours 8",
        ),
        Command(name="list", summary="List computes.", run=list_),
        of_one("compute", "show", "Show a compute.", run=show),
        Command(
            name="update",
            summary="Change a cluster's limits, or an instance's.",
            run=update,
            options=UPDATE,
            needs=("name",),
            example="um compute update -n NAME --max-instances 4",
        ),
        of_one(
            "compute",
            "delete",
            "Delete a compute, and cancel what runs on it.",
            run=delete,
            more=(
                YES,
                NO_WAIT,
            ),
        ),
        CONNECT,
        of_one(
            "compute",
            "explain",
            "Say why each node is kept, made or removed; of an instance, what keeps it up.",
            run=explain,
        ),
        Command(
            name="replay",
            summary="Decide the scheduler's last turns again, and say whether they come out alike.",
            run=replay,
            options=(
                Option("--trace-file", "turns that were saved before", "path", metavar="FILE"),
                Option("--save", "only save the last turns, with all that they rested on", "path", metavar="FILE"),
            ),
            example="um compute replay --save turns.json",
        ),
        of_one("compute", "list-nodes", "List the nodes of a compute.", run=list_nodes),
        Command(name="list-sizes", summary="List the sizes that a node can have.", run=list_sizes),
        Command(name="list-usage", summary="Show what is promised of each host.", run=list_usage),
    ),
)
