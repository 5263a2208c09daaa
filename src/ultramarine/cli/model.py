"""`um model …`"""

from ultramarine.cli.command import FILE, NAME, SET, VERSION, Call, Command, Group, Option
from ultramarine.cli.output import Column, ago
from ultramarine.cli.resource import document, named

CREATE = (
    FILE,
    SET,
    NAME,
    Option("--version -v", "its version; without one it gets the next number", field="version"),
    Option("--type -t", "what it is", choices=("mlflow_model", "custom_model"), field="type"),
    Option(
        "--path -p",
        "local file or folder, or azureml://jobs/JOB/outputs/artifacts/paths/model, or runs:/RUN/model",
        field="path",
    ),
)
COLUMNS = (
    Column("name", "name"),
    Column("version", "version"),
    Column("type", "type"),
    Column("age", "created_at", ago),
    Column("description", "description"),
)
FOLDER = Option("--download-path -p", "folder to write into", "path", default=".")


def create(call: Call) -> None:
    body, folder = document(call, CREATE)
    call.show(call.workspace.models.create_or_update(body, folder=folder))


def show(call: Call) -> None:
    call.show(call.workspace.models.get(*named(call.args.name, call.args.version)))


def list_(call: Call) -> None:
    call.show(call.workspace.models.list(call.args.name or ""), COLUMNS)


def download(call: Call) -> None:
    name, version = named(call.args.name, call.args.version)
    folder = call.args.download_path / name
    for file in call.workspace.models.download(name, version, folder):
        call.talk.say(f"  {file}")


GROUP = Group(
    noun="model",
    summary="Models: registered and versioned.",
    commands=(
        Command(
            name="create",
            summary="Register a model, from a YAML file or from options.",
            run=create,
            options=CREATE,
            example="um model create -f model.yml",
        ),
        Command(
            name="list",
            summary="List models; with a name, its versions.",
            run=list_,
            options=(Option("--name -n", "list the versions of this one"),),
        ),
        Command(
            name="show",
            summary="Show a model.",
            run=show,
            options=(NAME, VERSION),
            needs=("name",),
            example="um model show -n NAME",
        ),
        Command(
            name="download",
            summary="Download a model's files.",
            run=download,
            options=(NAME, VERSION, FOLDER),
            needs=("name",),
            example="um model download -n NAME",
        ),
    ),
)
