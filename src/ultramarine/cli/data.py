"""`um data …`"""

from ultramarine.cli.command import FILE, NAME, SET, VERSION, Call, Command, Group, Option
from ultramarine.cli.output import Column, ago, size
from ultramarine.cli.resource import document, named

CREATE = (
    FILE,
    SET,
    NAME,
    Option("--version -v", "its version; without one it gets the next number", field="version"),
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
FOLDER = Option("--download-path -p", "folder to write into", "path", default=".")


def create(call: Call) -> None:
    body, folder = document(call, CREATE)
    call.show(call.workspace.data.create_or_update(body, folder=folder))


def show(call: Call) -> None:
    call.show(call.workspace.data.get(*named(call.args.name, call.args.version)))


def list_(call: Call) -> None:
    call.show(call.workspace.data.list(call.args.name or ""), COLUMNS)


def download(call: Call) -> None:
    name, version = named(call.args.name, call.args.version)
    folder = call.args.download_path / name
    for file in call.workspace.data.download(name, version, folder):
        call.talk.say(f"  {file}")


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
        Command(
            name="list",
            summary="List data assets; with a name, its versions.",
            run=list_,
            options=(Option("--name -n", "list the versions of this one"),),
        ),
        Command(
            name="show",
            summary="Show a data asset.",
            run=show,
            options=(NAME, VERSION),
            needs=("name",),
            example="um data show -n NAME",
        ),
        Command(
            name="download",
            summary="Download a data asset's files.",
            run=download,
            options=(NAME, VERSION, FOLDER),
            needs=("name",),
            example="um data download -n NAME",
        ),
    ),
)
