"""`um data …`"""

from ultramarine.cli import asset
from ultramarine.cli.command import FILE, NAME, SET, Call, Command, Group, Option
from ultramarine.cli.output import Column, ago, size
from ultramarine.cli.resource import document

CREATE = (
    FILE,
    SET,
    NAME,
    asset.NEW_VERSION,
    Option("--type -t", "what it is", choices=("uri_file", "uri_folder"), field="type"),
    Option("--path -p", "file or folder to register", field="path"),
)
COLUMNS = (
    Column("name", "name"),
    Column("version", "version"),
    Column("type", "type"),
    Column("size", "size_bytes", size),
    Column("age", "created_at", ago),
    Column("description", "description"),
)


def create(call: Call) -> None:
    body, folder = document(call, CREATE)
    call.show(call.workspace.data.create_or_update(body, folder=folder))


GROUP = Group(
    noun="data",
    summary="Data assets: registered, versioned files and folders.",
    commands=(
        Command(
            name="create",
            summary="Register a file or folder, from a YAML file or from options.",
            run=create,
            options=CREATE,
            example="um data create -n cancer -t uri_file -p data/cancer.csv",
        ),
        asset.listing(lambda workspace: workspace.data, "List data assets; with a name, its versions.", COLUMNS),
        asset.showing("data", lambda workspace: workspace.data, "Show a data asset."),
        asset.downloading("data", lambda workspace: workspace.data, "Download a data asset's files."),
    ),
)
