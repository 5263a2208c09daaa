"""The way in: finds the group and the command, runs it, and makes of every error words and an exit code."""

import os
import sys
from collections.abc import Mapping, Sequence

from ultramarine import __version__

GROUPS: Mapping[str, tuple[str, str]] = {
    "job": ("job", "Jobs: work that ends by itself."),
    "compute": ("compute", "Compute targets: where work can run."),
    "environment": ("environment", "Environments: what is installed where work runs."),
    "data": ("data", "Data assets: registered, versioned files and folders."),
    "model": ("model", "Models: registered and versioned."),
    "online-endpoint": ("online_endpoint", "Online endpoints: stable addresses that answer requests."),
    "online-deployment": ("online_deployment", "Online deployments: what stands behind an endpoint."),
    "workspace": ("workspace", "Workspaces: all of one team's things."),
    "token": ("token", "Tokens: who may do what."),
    "event": ("event", "Events: what has happened."),
}
ALIASES: Mapping[str, str] = {"endpoint": "online-endpoint", "deployment": "online-deployment"}
INSTALLATION: Mapping[str, str] = {
    "up": "Start Ultramarine on this machine.",
    "down": "Say what still runs, end it, and stop Ultramarine on this machine.",
    "status": "Show what runs.",
}


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


def group_of(noun: str) -> str | None:
    """The module that holds a group's commands; None for an unknown noun."""
    name = ALIASES.get(noun, noun)
    return "installation" if name in INSTALLATION else GROUPS[name][0] if name in GROUPS else None


def _help() -> str:
    width = max(map(len, GROUPS)) + 2
    lines = ["usage: um GROUP COMMAND [options]", "", "Managed machine learning on your own machines.", ""]
    lines += [f"  {name.ljust(width)}{summary}" for name, summary in INSTALLATION.items()]
    lines += ["", *(f"  {name.ljust(width)}{summary}" for name, (_, summary) in GROUPS.items())]
    return "\n".join(
        [
            *lines,
            "",
            "um GROUP --help shows its commands. First steps: um up -d, then um job create -f job.yml --stream",
        ]
    )
