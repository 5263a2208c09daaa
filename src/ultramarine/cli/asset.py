"""What `um data …`, `um model …` and `um environment …` have in common: things with versions."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from ultramarine.cli.command import VERSION, Call, Command, Option, of_one
from ultramarine.cli.output import Column
from ultramarine.cli.resource import named
from ultramarine.sdk.collection import Versioned
from ultramarine.sdk.workspace import Workspace

NEW_VERSION = Option("--version -v", "its version; without one it gets the next number", field="version")
_ONE = Option("--name -n", "list the versions of this one", is_bare=True)
_FOLDER = Option("--download-path -p", "folder to write into", "path", default=".")


class CanDownload(Protocol):
    def download(self, name: str, version: str, folder: Path) -> Iterator[Path]: ...


def listing(of: Callable[[Workspace], Versioned], summary: str, columns: Sequence[Column]) -> Command:
    """`of`: the collection in a workspace."""

    def run(call: Call) -> None:
        call.show(of(call.workspace).list(call.args.name or ""), columns)

    return Command(name="list", summary=summary, run=run, options=(_ONE,))


def showing(noun: str, of: Callable[[Workspace], Versioned], summary: str) -> Command:
    def run(call: Call) -> None:
        call.show(of(call.workspace).get(*named(call.args.name, call.args.version)))

    return of_one(noun, "show", summary, run=run, more=(VERSION,))


def downloading(noun: str, of: Callable[[Workspace], CanDownload], summary: str) -> Command:
    def run(call: Call) -> None:
        name, version = named(call.args.name, call.args.version)
        for file in of(call.workspace).download(name, version, call.args.download_path / name):
            call.talk.say(f"  {file}")

    return of_one(noun, "download", summary, run=run, more=(VERSION, _FOLDER))
