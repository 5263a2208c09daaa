"""`um workspace …`"""

from ultramarine.cli import resource
from ultramarine.cli.command import FILE, NAME, NO_WAIT, SET, YES, Call, Command, Group, Option, of_one
from ultramarine.cli.output import Column, ago
from ultramarine.domain.errors import InvalidInput

COLUMNS = (
    Column("name", "name"),
    Column("description", "description"),
    Column("state", "provisioning_state"),
    Column("age", "created_at", ago),
)


DESCRIPTION = Option("--description", "what it is for", field="description")
CREATE = (FILE, SET, NAME, DESCRIPTION)


def create(call: Call) -> None:
    body, _ = resource.document(call, CREATE, is_needed=False)
    name = body.pop("name", None)
    if not name:
        raise InvalidInput("The workspace has no name.", hint="Write name: in the file, or give --name NAME.")
    call.show(call.workspace.workspaces.create_or_update(str(name), **body))


def update(call: Call) -> None:
    call.show(call.workspace.workspaces.update(call.args.name, resource.changes(call, CREATE)))


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
            options=CREATE,
            example="um workspace create -n vision --set quota.gpus=2",
        ),
        of_one(
            "workspace",
            "update",
            "Change a workspace's description, tags or quota.",
            run=update,
            more=(FILE, SET, DESCRIPTION),
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
