"""`um online-deployment …`"""

import sys
from typing import Any

from ultramarine.cli import resource
from ultramarine.cli.command import ENDPOINT_NAME, FAILED, FILE, NAME, NO_WAIT, SET, YES, Call, Command, Group, Option
from ultramarine.cli.output import Column, bare, used
from ultramarine.cli.resource import changes, document
from ultramarine.cli.rollout import COMMANDS
from ultramarine.domain.errors import InvalidInput

ALL_TRAFFIC = Option("--all-traffic", "once it answers, send it all requests of the endpoint", "switch")
COUNT = Option("--instance-count", "how many replicas", "number", field="instance_count")
CREATE = (FILE, SET, NAME, ENDPOINT_NAME, COUNT, ALL_TRAFFIC, NO_WAIT)
UPDATE = (FILE, SET, NAME, ENDPOINT_NAME, COUNT, NO_WAIT)
ONE = (NAME, ENDPOINT_NAME)
COLLECTION = Option("--collection", "this collection alone: model_inputs, model_outputs, request …")
REPLICA = Option("--replica", "of the replica of this number; the newest where not given", "number", metavar="NUMBER")
COLLECTED = (Column("file", "path"), Column("bytes", "size"))
COLUMNS = (
    Column("name", "name"),
    Column("state", "provisioning_state"),
    Column("model", "model", bare),
    Column("count", "instance_count"),
    Column("type", "instance_type"),
    Column("reason", "reason"),
)


def create(call: Call) -> int | None:
    if call.args.all_traffic and call.args.no_wait:
        raise InvalidInput(
            "--all-traffic is given once the deployment answers, and --no-wait does not wait for that.",
            hint="Leave out one of the two.",
        )
    body, folder = document(call, CREATE)
    for field in ("name", "endpoint_name"):
        if not body.get(field):
            raise InvalidInput(
                f"The deployment has no {field}.",
                hint=f"Write {field}: in the file, or give --{field.replace('_', '-')}.",
            )
    made = call.workspace.online_deployments.create_or_update(body, folder=folder)
    call.talk.note(made)
    code, made = _settled(call, made)
    if code is None and call.args.all_traffic:
        _send_all_traffic(call, made)
    call.show(made)
    return code


def update(call: Call) -> int | None:
    args = call.args
    made = call.workspace.online_deployments.update(args.name, args.endpoint_name, changes(call, UPDATE))
    code, made = _settled(call, made)
    call.show(made)
    return code


def _settled(call: Call, made: dict[str, Any]) -> tuple[int | None, dict[str, Any]]:
    """Wait for its end unless it shall not be waited for: the exit code, and what it has become."""
    name, endpoint = str(made["name"]), str(made["endpoint_name"])
    if call.args.no_wait:
        return None, made
    with call.talk.spinning(f"Deployment {name}: {made['provisioning_state']}") as words:

        def tell(view: dict[str, Any]) -> None:
            reason = str(view.get("reason") or "").splitlines()
            words[0] = f"Deployment {name}: {view['provisioning_state']}" + (f": {reason[0]}" if reason else "")

        made = call.workspace.online_deployments.wait(name, endpoint, tell=tell)
    call.talk.say(f"Deployment {name}: {made['provisioning_state']}")
    if made["provisioning_state"] != "Failed":
        return None, made
    call.talk.problem(
        f"Deployment {name} failed: {made.get('reason')}", hint=f"um online-deployment get-logs -e {endpoint} -n {name}"
    )
    return FAILED, made


def _send_all_traffic(call: Call, made: dict[str, Any]) -> None:
    endpoints, name, endpoint = call.workspace.online_endpoints, str(made["name"]), str(made["endpoint_name"])
    before: dict[str, int] = endpoints.get(endpoint).get("traffic") or {}
    endpoints.update(endpoint, {"traffic": dict.fromkeys(before, 0) | {name: 100}})
    call.talk.say(f"Endpoint {endpoint}: all traffic goes to {name}")


def show(call: Call) -> None:
    view = call.workspace.online_deployments.get(call.args.name, call.args.endpoint_name)
    call.show(in_words(view) if call.is_table else view)


def in_words(view: dict[str, Any]) -> dict[str, Any]:
    """With figures as a person reads them."""
    requests: dict[str, Any] | None = view.get("requests")
    replicas: list[dict[str, Any]] = view.get("replicas") or []
    shown = {**view, "replicas": {f"replica {each['run']}": _replica(each) for each in replicas}}
    return shown if requests is None else {**shown, "requests": requests_in_words(requests)}


def requests_in_words(requests: dict[str, Any]) -> dict[str, Any]:
    now = f"{requests['in_flight']} in flight, {requests['queued'] + requests['held']} wait for a place"
    lately, ever = requests["last_minute"], {code: count for code, count in requests["answers"].items() if count}
    words = {"now": now}
    if lately is not None:
        words["last minute"] = (
            f"{lately['per_s']:g} a second, {lately['errors']} errors, {lately['refused']} refused (429)"
            + _times(lately, "p50", "p90", "p99")
        )
    counted = ", ".join(f"{count} of {code}" for code, count in ever.items()) or "none yet"
    return words | {"all answers": counted + _times(requests, "p50", "p99")}


def _times(found: dict[str, Any], *names: str) -> str:
    told = [f"{name} {found[f'{name}_s'] * 1000:.3g} ms" for name in names if found[f"{name}_s"] is not None]
    return f"; {', '.join(told)}" if told else ""


def _replica(replica: dict[str, Any]) -> dict[str, Any]:
    load, usage = replica.get("load"), replica.get("usage")
    words = {name: value for name, value in replica.items() if name not in ("run", "load", "usage")}
    if load is not None:
        shared = "" if load["per_call"] is None else f", {load['per_call']:.3g} requests a call"
        words["load"] = f"{load['waiting']} wait in it{shared}, {load['workers']} worker process" + "es" * (
            load["workers"] != 1
        )
    return words if usage is None else words | {"usage": used(usage["now"], usage["peak"])}


def list_(call: Call) -> None:
    call.show(call.workspace.online_deployments.list(call.args.endpoint_name), COLUMNS)


def delete(call: Call) -> int | None:
    name, endpoint, deployments = call.args.name, call.args.endpoint_name, call.workspace.online_deployments
    return resource.delete(
        call,
        resource.Deletion(
            what=f"the deployment {name} of {endpoint}",
            title=f"Deployment {name}",
            look=lambda: deployments.get(name, endpoint),
            delete=lambda: deployments.delete(name, endpoint),
            wait=lambda: deployments.wait_gone(name, endpoint),
        ),
    )


def get_logs(call: Call) -> None:
    args = call.args
    log = call.workspace.online_deployments.replica_log(
        args.name, args.endpoint_name, lines=args.lines, replica=args.replica
    )
    if log.replica is None:
        call.talk.say(f"No replica of {args.name} has written anything yet.")
    else:
        newest = "" if args.replica else ", the newest; of another: --replica NUMBER"
        call.talk.say(f"Replica {log.replica} of {args.name}{newest}{'' if log.text else ': nothing yet'}")
    sys.stdout.write(log.text)


def collected(call: Call) -> None:
    args, deployments = call.args, call.workspace.online_deployments
    collection = args.collection or ""
    if args.download_path is None:
        call.show(deployments.collected(args.name, args.endpoint_name, collection=collection), COLLECTED)
        return
    count = 0
    for file in deployments.download_collected(
        args.name, args.endpoint_name, args.download_path, collection=collection
    ):
        call.talk.say(f"  {file}")
        count += 1
    call.talk.say(f"{count} file{'s' * (count != 1)} in {args.download_path}")


def delete_collected(call: Call) -> int | None:
    args = call.args
    what = f"what {args.name} of {args.endpoint_name} has collected" + (f" before {args.before}" * bool(args.before))
    if not (args.yes or call.talk.confirm(f"Delete {what}?")):
        return FAILED
    gone = call.workspace.online_deployments.delete_collected(
        args.name, args.endpoint_name, collection=args.collection or "", before=args.before or ""
    )
    call.talk.say(f"Deleted: {gone['files']} file{'s' * (gone['files'] != 1)}, {gone['bytes']} bytes")
    return None


GROUP = Group(
    noun="online-deployment",
    summary="Online deployments: what stands behind an endpoint.",
    commands=(
        Command(
            name="create",
            summary="Create a deployment from a YAML file, and wait until it answers.",
            run=create,
            options=CREATE,
            example="um online-deployment create -f blue.yml --all-traffic",
        ),
        Command(
            name="list",
            summary="List the deployments of an endpoint.",
            run=list_,
            options=(ENDPOINT_NAME,),
            needs=("endpoint_name",),
            example="um online-deployment list -e ENDPOINT",
        ),
        Command(
            name="show",
            summary="Show a deployment.",
            run=show,
            options=ONE,
            needs=("name", "endpoint_name"),
            example="um online-deployment show -e ENDPOINT -n NAME",
        ),
        Command(
            name="update",
            summary="Change a deployment.",
            run=update,
            options=UPDATE,
            needs=("name", "endpoint_name"),
            example="um online-deployment update -e ENDPOINT -n NAME --instance-count 2",
        ),
        Command(
            name="delete",
            summary="Delete a deployment.",
            run=delete,
            options=(*ONE, YES, NO_WAIT),
            needs=("name", "endpoint_name"),
            example="um online-deployment delete -e ENDPOINT -n NAME",
        ),
        Command(
            name="get-logs",
            summary="Show the last lines that a replica of a deployment has written.",
            run=get_logs,
            options=(*ONE, Option("--lines -l", "how many", "number", default=100), REPLICA),
            needs=("name", "endpoint_name"),
            example="um online-deployment get-logs -e ENDPOINT -n NAME",
        ),
        *COMMANDS,
        Command(
            name="collected",
            summary="List or download what a deployment's data_collector has kept.",
            run=collected,
            options=(
                *ONE,
                COLLECTION,
                Option("--download-path -p", "folder to download to; without it the files are listed", "path"),
            ),
            needs=("name", "endpoint_name"),
            example="um online-deployment collected -e ENDPOINT -n NAME --collection model_inputs -p kept",
        ),
        Command(
            name="delete-collected",
            summary="Delete what a deployment's data_collector has kept.",
            run=delete_collected,
            options=(*ONE, COLLECTION, Option("--before", "only what is older than this day or time (UTC)"), YES),
            needs=("name", "endpoint_name"),
            example="um online-deployment delete-collected -e ENDPOINT -n NAME --before 2026-11-28",
        ),
    ),
)
