"""Write docs/reference/cli.md from the commands themselves; a test holds the page to it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ultramarine.cli.command import EXIT_CODES, GLOBAL, Command, Group, Option
from ultramarine.cli.dispatch import load
from ultramarine.cli.groups import ALIASES, GROUPS
from ultramarine.cli.parsing import attribute

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"
HEAD = """# The `um` command

<!-- Made by tools/write_cli_reference.py from the commands themselves. -->

`um GROUP COMMAND [options]`; `ultramarine` is the same program. Data goes to stdout, words go to stderr. On a terminal
an answer is a table, else JSON; `-o` and `--query` choose. The name of a thing may stand with `-n` or without:
`um job show -n NAME`, `um job show NAME`. In a YAML file relative paths start at the file's folder.

The server is found by `--url` and `--token`, else by `ULTRAMARINE_URL` and `ULTRAMARINE_TOKEN`, else by
`connection.json`, which the server writes into its home (`ULTRAMARINE_HOME`, else the user's data folder).
"""


def page() -> str:
    common = _table("For every command", GLOBAL, noun="thing")
    return "\n".join([HEAD, *_exit_codes(), *common, *_groups()]).rstrip() + "\n"


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes\n\n| code | meaning |\n|---|---|"
    yield from (f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    yield ""


def _groups() -> Iterator[str]:
    yield from _group(load("installation"), "um")
    yield from _group(load("backup"), "um backup, um restore")
    for noun, (module, _) in GROUPS.items():
        short = [alias for alias, meant in ALIASES.items() if meant == noun]
        yield from _group(load(module), f"um {noun}" + "".join(f" (um {alias})" for alias in short))


def _group(group: Group, title: str) -> Iterator[str]:
    yield f"## {title}\n\n{group.summary}\n"
    for command in group.commands:
        yield from _command(group, command)


def _command(group: Group, command: Command) -> Iterator[str]:
    yield f"### {' '.join(word for word in ('um', group.noun, command.name) if word)}\n\n{command.summary}\n"
    if command.example:
        yield f"```\n{command.example}\n```\n"
    if command.options:
        yield from _table("", command.options, noun=group.noun, needs=command.needs)


def _table(title: str, options: Sequence[Option], *, noun: str, needs: Sequence[str] = ()) -> Iterator[str]:
    if title:
        yield f"## {title}\n"
    yield "| option | |\n|---|---|"
    for option in options:
        yield _row(option, noun=noun, is_needed=attribute(option) in needs)
    yield ""


def _row(option: Option, *, noun: str, is_needed: bool) -> str:
    words = option.help.format(noun=noun.replace("-", " "))
    more = f": {', '.join(option.choices)}" if option.choices else ""
    default = f"; {option.default} where not given" if option.default not in (None, "") else ""
    flags = ", ".join(f"`{flag}`" for flag in option.flags.split())
    return f"| {flags} | {words}{more}{default}{'; needed' if is_needed else ''} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
