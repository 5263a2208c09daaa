"""`um workspace …`"""

from ultramarine.cli.command import NAME, YES, Call, Command, Group, Option
from ultramarine.cli.output import Column, ago
from ultramarine.cli.resource import may_delete

COLUMNS = (Column("name", "name"), Column("description", "description"), Column("age", "created_at", ago))


def create(call: Call) -> None:
    call.show(call.workspace.workspaces.create_or_update(call.args.name, description=call.args.description or ""))


def show(call: Call) -> None:
    call.show(call.workspace.workspaces.get(call.args.name or call.workspace.name))


def list_(call: Call) -> None:
    call.show(call.workspace.workspaces.list(), COLUMNS)


def delete(call: Call) -> int | None:
    workspaces = call.workspace.workspaces
    workspaces.get(call.args.name)
    if not may_delete(call, f"the workspace {call.args.name}, with all that is in it"):
        return 1
    workspaces.delete(call.args.name)
    call.talk.say(f"Workspace {call.args.name}: Deleted")
    return None


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
        Command(
            name="delete",
            summary="Delete a workspace.",
            run=delete,
            options=(NAME, YES),
            needs=("name",),
            example="um workspace delete -n NAME",
        ),
    ),
)
