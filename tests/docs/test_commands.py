"""Every `um …` that a page shows is a command that there is, with options that it has."""

import re
import shlex
from collections.abc import Iterator

from ultramarine.cli.command import GLOBAL, Command
from ultramarine.cli.dispatch import load
from ultramarine.cli.groups import ALIASES, GROUPS, group_of

from .shape import ROOT
from .test_documents import committed, text_of

TYPED = re.compile(r"(?:`|^|\$\(|\| |\$ |ULTRAMARINE_\w+=\w+ )(um [a-z][^`\n|)#]*)", re.MULTILINE)
GENERATED = ("cli.md", "errors.md")  # made from the commands themselves, or from messages with places to fill


def shown() -> Iterator[tuple[str, str]]:
    """Where, and the command as a page shows it."""
    for page in committed():
        if page.suffix == ".md" and page.name not in GENERATED:
            for found in TYPED.finditer(text_of(page)):
                yield f"{page.relative_to(ROOT)}: {found[1]}", found[1].split(";")[0].split(" && ")[0]


def problem(typed: str) -> str:
    """What is wrong with it; "" when nothing is."""
    words = [word for word in shlex.split(typed.replace("'", ""), comments=True) if word not in ("…", "||")][1:]
    module = group_of(words[0])
    if module is None:
        return f"no command {words[0]}"
    group = load(module)
    rest = words[1:] if group.noun else words
    if group.noun and not rest:
        return ""  # the group itself is meant
    command = group.find(rest[0])
    return f"no command {rest[0]}" if command is None else _unknown_options(command, rest[1:])


def _unknown_options(command: Command, words: list[str]) -> str:
    known = {flag for option in (*GLOBAL, *command.options) for flag in option.flags.split()} | {"--help", "-h"}
    unknown = [word for word in words if word.startswith("-") and word != "-" and word.partition("=")[0] not in known]
    return f"no option {', '.join(unknown)}" if unknown else ""


def test_every_command_that_a_page_shows_can_be_typed():
    there = list(shown())
    assert len(there) > 50
    assert [f"{where}: {wrong}" for where, typed in there if (wrong := problem(typed))] == []


def test_a_wrong_command_would_be_found():
    assert problem("um job craete -f x") == "no command craete"
    assert problem("um jobs") == "no command jobs"
    assert problem("um job create --fiel x") == "no option --fiel"
    assert problem("um job create -f job.yml --set command=ls") == ""
    assert set(ALIASES.values()) <= set(GROUPS)
