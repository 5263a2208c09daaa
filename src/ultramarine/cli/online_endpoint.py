"""`um online-endpoint …`"""

import sys
from typing import Any

from ultramarine.cli import resource
from ultramarine.cli.command import FILE, NAME, NO_WAIT, SET, YES, Call, Command, Group, Option, of_one
from ultramarine.cli.online_deployment import requests_in_words
from ultramarine.cli.output import Column
from ultramarine.cli.resource import changes, document
from ultramarine.domain.errors import InvalidInput

AUTH = Option("--auth-mode", "how callers sign in", choices=("key", "aml_token"), field="auth_mode")
TRAFFIC = Option("--traffic", 'percent for each deployment: "blue=90 green=10"')
MIRROR = Option("--mirror-traffic", 'percent that one deployment gets a copy of: "green=10"; 0 ends it')
CREATE = (FILE, SET, NAME, AUTH, Option("--no-wait", "as in Azure ML; an endpoint is ready at once", "switch"))
UPDATE = (FILE, SET, NAME, TRAFFIC, MIRROR)
COLUMNS = (
    Column("name", "name"),
    Column("state", "provisioning_state"),
    Column("traffic", "traffic"),
    Column("mirrored", "mirror_traffic"),
    Column("deployments", "deployments"),
    Column("scoring uri", "scoring_uri"),
)


def create(call: Call) -> None:
    body, folder = document(call, CREATE)
    if not body.get("name"):
        raise InvalidInput("The endpoint has no name.", hint="Write name: in the file, or give --name NAME.")
    call.show(call.workspace.online_endpoints.create_or_update(body, folder=folder))


def update(call: Call) -> None:
    given: dict[str, Any] = {}
    if call.args.traffic:
        given["traffic"] = shares("--traffic", call.args.traffic)
    if call.args.mirror_traffic:
        given["mirror_traffic"] = shares("--mirror-traffic", call.args.mirror_traffic)
    fields = given if given and not call.args.file and not call.args.set else changes(call, UPDATE) | given
    call.show(call.workspace.online_endpoints.update(call.args.name, fields))


def shares(option: str, text: str) -> dict[str, int]:
    """`blue=90 green=10` as a mapping."""
    found: dict[str, int] = {}
    for word in text.replace(",", " ").split():
        name, equals, share = word.partition("=")
        if not equals or not share.isdigit():
            raise InvalidInput(
                f"{option}: {word!r} is not of the form deployment=percent.",
                hint=f'Example: {option} "{"green=10" if option == "--mirror-traffic" else "blue=90 green=10"}"',
            )
        found[name] = int(share)
    return found


def show(call: Call) -> None:
    view = call.workspace.online_endpoints.get(call.args.name)
    if call.is_table:
        requests: dict[str, dict[str, Any]] = view.get("requests") or {}
        view = {**view, "requests": {name: requests_in_words(each) for name, each in requests.items()}}
    call.show(view)


def list_(call: Call) -> None:
    call.show(call.workspace.online_endpoints.list(), COLUMNS)


def delete(call: Call) -> int | None:
    name, endpoints = call.args.name, call.workspace.online_endpoints
    return resource.delete(
        call,
        resource.Deletion(
            what=f"the endpoint {name}, with its deployments",
            title=f"Endpoint {name}",
            look=lambda: endpoints.get(name),
            delete=lambda: endpoints.delete(name),
            wait=lambda: endpoints.wait_gone(name),
        ),
    )


def invoke(call: Call) -> None:
    file = call.args.request_file
    try:
        body = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"{file} cannot be read: {error.strerror or error}.", hint=f"Look for it: ls {file.parent}"
        ) from None
    answer = call.workspace.online_endpoints.invoke(
        call.args.name, body, deployment_name=call.args.deployment_name or "", content_type=call.args.content_type
    )
    sys.stdout.buffer.write(answer if answer.endswith(b"\n") else answer + b"\n")
    sys.stdout.flush()


def get_credentials(call: Call) -> None:
    call.show(call.workspace.online_endpoints.credentials(call.args.name))


def regenerate_keys(call: Call) -> None:
    call.workspace.online_endpoints.regenerate_keys(call.args.name, key_type=call.args.key_type)
    call.talk.say(
        f"The {call.args.key_type} key of {call.args.name} is another now."
        f"\n  next: um online-endpoint get-credentials -n {call.args.name}"
    )


GROUP = Group(
    noun="online-endpoint",
    summary="Online endpoints: stable addresses that answer requests.",
    commands=(
        Command(
            name="create",
            summary="Create an endpoint from a YAML file, or from options.",
            run=create,
            options=CREATE,
            example="um online-endpoint create -f endpoint.yml",
        ),
        Command(name="list", summary="List endpoints.", run=list_),
        of_one("online-endpoint", "show", "Show an endpoint.", run=show),
        Command(
            name="update",
            summary="Change an endpoint: its traffic, its words.",
            run=update,
            options=UPDATE,
            needs=("name",),
            example='um online-endpoint update -n NAME --traffic "blue=90 green=10"',
        ),
        of_one(
            "online-endpoint",
            "delete",
            "Delete an endpoint and its deployments.",
            run=delete,
            more=(
                YES,
                NO_WAIT,
            ),
        ),
        Command(
            name="invoke",
            summary="Send a request to an endpoint.",
            run=invoke,
            options=(
                NAME,
                Option("--request-file -r", "what to send; - is stdin", "path", metavar="FILE"),
                Option("--deployment-name -d", "ask this deployment, whatever the traffic says"),
                Option("--content-type", "of what is sent", default="application/json"),
            ),
            needs=("name", "request_file"),
            example="um online-endpoint invoke -n NAME --request-file request.json",
        ),
        of_one(
            "online-endpoint",
            "get-credentials",
            "Show what a caller signs in with: the keys, or a token.",
            run=get_credentials,
        ),
        Command(
            name="regenerate-keys",
            summary="Make a new key; the old one is good no more.",
            run=regenerate_keys,
            options=(
                NAME,
                Option("--key-type", "which of the two", choices=("primary", "secondary"), default="primary"),
            ),
            needs=("name",),
            example="um online-endpoint regenerate-keys -n NAME --key-type secondary",
        ),
    ),
)
