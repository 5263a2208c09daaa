"""`um compute …`"""

import json
from pathlib import Path

from ultramarine.cli import resource
from ultramarine.cli.command import FAILED, FILE, NAME, NO_WAIT, OK, SET, YES, Call, Command, Group, Option, of_one
from ultramarine.cli.output import Column, size
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
TYPE = Option("--type -t", "kind of compute: amlcompute or inferencecluster", field="type")
SIZE = Option("--size", "size of each node; um compute list-sizes", field="size")
CREATE = (FILE, SET, NAME, TYPE, SIZE, MIN, MAX, IDLE)
UPDATE = (FILE, SET, NAME, MIN, MAX, IDLE)
COLUMNS = (
    Column("name", "name"),
    Column("type", "type"),
    Column("size", "size_used"),
    Column("state", "provisioning_state"),
    Column("nodes", "nodes.total"),
    Column("busy", "nodes.busy"),
    Column("min", "min_instances"),
    Column("max", "max_instances"),
)


def create(call: Call) -> None:
    body, folder = document(call, CREATE)
    if not body.get("name"):
        raise InvalidInput("The compute has no name.", hint="Write name: in the file, or give --name NAME.")
    compute = call.workspace.computes.create_or_update(body, folder=folder)
    if compute.get("notice"):
        call.talk.say(f"note: {compute['notice']}")
    call.show(compute)


def update(call: Call) -> None:
    call.show(call.workspace.computes.update(call.args.name, changes(call, UPDATE)))


def show(call: Call) -> None:
    call.show(call.workspace.computes.get(call.args.name))


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
    first = view["waiting"]["first"]
    call.talk.say(f"{view['name']}: {view['min_instances']} to {view['max_instances']} nodes")
    if first is not None:
        call.talk.say(f"{view['waiting']['count']} waiting, the first is {first['name']}: {first['reason']}")
    if view["starts"] != "possible":
        call.talk.say(view["starts"])
    columns = (Column("name", "name"), Column("status", "status"), Column("runs", "runs"), Column("reason", "reason"))
    call.show(view["nodes"], columns)


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
            options=CREATE,
            example="um compute create -f cluster.yml",
        ),
        Command(name="list", summary="List computes.", run=list_),
        of_one("compute", "show", "Show a compute.", run=show),
        Command(
            name="update",
            summary="Change a cluster's limits.",
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
        of_one("compute", "explain", "Say why each node is kept, made or removed, and who waits first.", run=explain),
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
