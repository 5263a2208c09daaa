"""What a command is: data, from which the parser, the help and docs/reference/cli.md are made."""

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from ultramarine.cli import output
from ultramarine.cli.talk import Talk
from ultramarine.sdk.connection import find
from ultramarine.sdk.workspace import Workspace

OK, FAILED, USAGE, NOT_FOUND, NOT_ALLOWED, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
EXIT_CODES: Mapping[int, str] = {
    OK: "done",
    FAILED: "it failed: a job that was followed ended Failed or Canceled, a deployment failed, the server refused",
    USAGE: "the command or the file cannot be taken as it is",
    NOT_FOUND: "there is no such thing",
    NOT_ALLOWED: "not signed in, or not allowed",
    UNREACHABLE: "the server, or a part of it, does not answer",
    INTERRUPTED: "ended by Ctrl-C; what was asked of the server goes on",
}


@dataclass(frozen=True, slots=True)
class Option:
    """`flags` as typed, the attribute named by the first long one; `field`: the field of the resource that it sets."""

    flags: str
    help: str
    kind: Literal["text", "number", "switch", "many", "path"] = "text"
    choices: Sequence[str] = ()
    default: Any = None
    metavar: str = ""
    is_required: bool = False
    field: str = ""
    is_bare: bool = False  #: it may also stand without its flag


NAME = Option("--name -n", "name of the {noun}; it may also stand without -n", field="name", is_bare=True)
FILE = Option("--file -f", "YAML file of the {noun}", "path", metavar="FILE")
SET = Option(
    "--set", "set a field of the file, e.g. --set tags.team=vision; may be given again", "many", metavar="FIELD=VALUE"
)
YES = Option("--yes -y", "do not ask", "switch")
NO_WAIT = Option("--no-wait", "do not wait for the end of it", "switch")
VERSION = Option("--version -v", "its version", default="latest")
ENDPOINT_NAME = Option("--endpoint-name -e", "name of the endpoint", field="endpoint_name")
GLOBAL = (
    Option("--workspace -w", "workspace; else ULTRAMARINE_WORKSPACE, else default"),
    Option(
        "--output -o",
        "how the answer is printed; a table on a terminal, else json; tsv: tabs between values, no heads",
        choices=output.FORMATS,
    ),
    Option("--query", "JMESPath that picks from the answer", metavar="JMESPATH"),
    Option("--url", "the server's address; else ULTRAMARINE_URL, else what `um up` has written"),
    Option("--token", "the token; better given as ULTRAMARINE_TOKEN, where other users cannot see it"),
    Option("--ca-file", "the CA (PEM) that the server's certificate is by; else ULTRAMARINE_CA_FILE", metavar="FILE"),
)


class Call:
    """One command as it was typed: its options, the workspace that it works in, where it prints."""

    def __init__(self, args: Namespace, *, talk: Talk) -> None:
        self.args = args
        self.talk = talk
        self._workspace: Workspace | None = None

    @property
    def workspace(self) -> Workspace:
        if self._workspace is None:
            self._workspace = Workspace(
                find(self.args.url, self.args.token, self.args.workspace, ca_file=self.args.ca_file),
                progress=self.talk.progress,
            )
        return self._workspace

    @property
    def is_table(self) -> bool:
        """Whether a person reads, and picked nothing."""
        return output.form_of(self.args.output) == "table" and not self.args.query

    def show(self, view: Any, columns: Sequence[output.Column] = ()) -> None:
        """Print data to stdout, in the form that was asked for."""
        rows = cast(Any, view if isinstance(view, str | Mapping) or view is None else list(view))
        if self.is_table and rows == []:
            self.talk.say("(none)")
        output.show(rows, columns, form=self.args.output, query=self.args.query)


Run = Callable[[Call], int | None]  #: gives the exit code; None is 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    name: str
    summary: str
    run: Run
    options: Sequence[Option] = ()
    example: str = ""
    needs: Sequence[str] = ()  #: attributes that must be given, by option or (the name) without


def of_one(noun: str, name: str, summary: str, *, run: Run, more: Sequence[Option] = ()) -> Command:
    """A command about one thing, which is given by its name alone."""
    example = f"um {noun} {name} -n NAME"
    return Command(name=name, summary=summary, run=run, options=(NAME, *more), needs=("name",), example=example)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    noun: str
    summary: str
    commands: Sequence[Command] = field(default_factory=list[Command])

    def find(self, name: str) -> Command | None:
        return next((command for command in self.commands if command.name == name), None)


def path_of(text: str) -> Path:
    return Path(text).expanduser()
