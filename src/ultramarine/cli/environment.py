"""`um environment …`"""

from ultramarine.cli.command import FAILED, FILE, NAME, NO_WAIT, SET, VERSION, Call, Command, Group, Option
from ultramarine.cli.output import Column
from ultramarine.cli.resource import document, named

CREATE = (
    FILE,
    SET,
    NAME,
    Option("--version -v", "its version; without one it gets the next number", field="version"),
    Option("--conda-file -c", "conda file", "path", metavar="FILE", field="conda_file"),
    Option("--requirements", "requirements file, as pip takes it", "path", metavar="FILE", field="requirements"),
    NO_WAIT,
)
COLUMNS = (
    Column("name", "name"),
    Column("version", "version"),
    Column("status", "status"),
    Column("python", "python"),
    Column("packages", "packages"),
    Column("curated", "is_curated"),
    Column("reason", "reason"),
)


def create(call: Call) -> int | None:
    body, folder = document(call, CREATE)
    environments = call.workspace.environments
    made = environments.create_or_update(body, folder=folder)
    name, version = str(made["name"]), str(made["version"])
    if made["status"] == "Resolving" and not call.args.no_wait:
        with call.talk.spinning(f"Environment {name}:{version}: resolving its packages"):
            made = environments.wait(name, version)
    if made["status"] != "Failed":
        call.show(made)
        return None
    if not call.is_table:
        call.show(made)
    call.talk.problem(
        f"Environment {name}:{version} cannot be made: {made['reason']}",
        hint="Correct the requirements and create it again.",
    )
    return FAILED


def show(call: Call) -> None:
    call.show(call.workspace.environments.get(*named(call.args.name, call.args.version)))


def list_(call: Call) -> None:
    call.show(call.workspace.environments.list(call.args.name or ""), COLUMNS)


GROUP = Group(
    noun="environment",
    summary="Environments: what is installed where work runs.",
    commands=(
        Command(
            name="create",
            summary="Create an environment from a YAML, conda or requirements file.",
            run=create,
            options=CREATE,
            example="um environment create -f environment.yml",
        ),
        Command(
            name="list",
            summary="List environments, the curated ones too; with a name, its versions.",
            run=list_,
            options=(Option("--name -n", "list the versions of this one"),),
        ),
        Command(
            name="show",
            summary="Show an environment.",
            run=show,
            options=(NAME, VERSION),
            needs=("name",),
            example="um environment show -n sklearn",
        ),
    ),
)
