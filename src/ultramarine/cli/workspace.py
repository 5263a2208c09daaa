"""`um workspace …`"""

from ultramarine.cli.command import NAME, Call, Command, Group, Option
from ultramarine.cli.output import Column, ago

COLUMNS = (Column("name", "name"), Column("description", "description"), Column("age", "created_at", ago))


def create(call: Call) -> None:
    call.show(call.workspace.workspaces.create_or_update(call.args.name, description=call.args.description or ""))


def show(call: Call) -> None:
    call.show(call.workspace.workspaces.get(call.args.name or call.workspace.name))


def list_(call: Call) -> None:
    call.show(call.workspace.workspaces.list(), COLUMNS)


GROUP = Group(
    noun="workspace",
    summary="Workspaces: all of one team's things.",
    commands=(
        Command(
            name="create",
            summary="Create a workspace.",
            run=create,
            options=(NAME, Option("--description", "what it is for")),
            needs=("name",),
            example="um workspace create -n vision",
        ),
        Command(name="list", summary="List the workspaces that the token is good for.", run=list_),
        Command(
            name="show", summary="Show a workspace; the current one where none is named.", run=show, options=(NAME,)
        ),
    ),
)
