"""`um environment …`"""

from ultramarine.cli import asset
from ultramarine.cli.command import FAILED, FILE, NAME, NO_WAIT, SET, Call, Command, Group, Option
from ultramarine.cli.output import Column
from ultramarine.cli.resource import document

CREATE = (
    FILE,
    SET,
    NAME,
    asset.NEW_VERSION,
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
        asset.listing(
            lambda workspace: workspace.environments,
            "List environments, the curated ones too; with a name, its versions.",
            COLUMNS,
        ),
        asset.showing("environment", lambda workspace: workspace.environments, "Show an environment."),
    ),
)
