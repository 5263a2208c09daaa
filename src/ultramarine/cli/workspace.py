"""`um workspace …`"""

from ultramarine.cli import resource
from ultramarine.cli.command import NAME, NO_WAIT, YES, Call, Command, Group, Option, of_one
from ultramarine.cli.output import Column, ago

COLUMNS = (
    Column("name", "name"),
    Column("description", "description"),
    Column("state", "provisioning_state"),
    Column("age", "created_at", ago),
)


def create(call: Call) -> None:
    call.show(call.workspace.workspaces.create_or_update(call.args.name, description=call.args.description or ""))


def show(call: Call) -> None:
    call.show(call.workspace.workspaces.get(call.args.name or call.workspace.name))


def list_(call: Call) -> None:
    call.show(call.workspace.workspaces.list(), COLUMNS)


def delete(call: Call) -> int | None:
    name, workspaces = call.args.name, call.workspace.workspaces
    return resource.delete(
        call,
        resource.Deletion(
            what=f"the workspace {name}, with its history",
            title=f"Workspace {name}",
            look=lambda: workspaces.get(name),
            delete=lambda: workspaces.delete(name),
            wait=lambda: workspaces.wait_gone(name),
        ),
    )


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
        of_one(
            "workspace",
            "delete",
            "Delete a workspace in which nothing lives any more.",
            run=delete,
            more=(
                YES,
                NO_WAIT,
            ),
        ),
        Command(name="list", summary="List the workspaces that the token is good for.", run=list_),
        Command(
            name="show", summary="Show a workspace; the current one where none is named.", run=show, options=(NAME,)
        ),
    ),
)
