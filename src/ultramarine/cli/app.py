"""The way in: finds the group and the command, runs it, and makes of every error words and an exit code."""

import os
import sys
from collections.abc import Sequence

from ultramarine import __version__
from ultramarine.cli.groups import GROUPS, INSTALLATION


def main(words: Sequence[str] | None = None) -> None:
    """The `um` program; exits with one of `cli.command.EXIT_CODES`."""
    given = list(sys.argv[1:] if words is None else words)
    if given in (["--version"], ["version"]):
        print(f"ultramarine {__version__}")
        return
    if not given or given[0] in ("-h", "--help", "help"):
        print(_help())
        return
    # imported late: `um --version` does without all of it
    from ultramarine.cli.dispatch import run

    try:
        sys.exit(run(given))
    except BrokenPipeError:  # `um job list | head -1`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python's last flush says nothing
        sys.exit(1)


def _help() -> str:
    width = max(map(len, GROUPS)) + 2
    lines = ["usage: um GROUP COMMAND [options]", "", "Managed machine learning on your own machines.", ""]
    lines += [f"  {name.ljust(width)}{summary}" for name, summary in INSTALLATION.items()]
    lines += ["", *(f"  {name.ljust(width)}{summary}" for name, (_, summary) in GROUPS.items())]
    return "\n".join(
        [
            *lines,
            "",
            "um GROUP --help shows its commands.",
            "First steps: um up -d, then um job create -f job.yml --stream",
        ]
    )
