"""`um model …`"""

from ultramarine.cli import asset
from ultramarine.cli.command import FILE, NAME, SET, Call, Command, Group, Option
from ultramarine.cli.output import Column, ago
from ultramarine.cli.resource import document

CREATE = (
    FILE,
    SET,
    NAME,
    asset.NEW_VERSION,
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


def create(call: Call) -> None:
    body, folder = document(call, CREATE)
    call.show(call.workspace.models.create_or_update(body, folder=folder))


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
        asset.listing(lambda workspace: workspace.models, "List models; with a name, its versions.", COLUMNS),
        asset.showing("model", lambda workspace: workspace.models, "Show a model."),
        asset.downloading("model", lambda workspace: workspace.models, "Download a model's files."),
    ),
)
