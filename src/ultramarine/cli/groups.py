"""The groups of commands, and which module holds each: one is imported, the others are only named."""

from collections.abc import Mapping

GROUPS: Mapping[str, tuple[str, str]] = {
    "job": ("job", "Jobs: work that ends by itself."),
    "notebook": ("notebook", "Notebooks: run as jobs, and shown as pages."),
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
    "down": "Say what still runs, end it, and stop Ultramarine here.",
    "status": "Show what runs.",
    "backup": "Write the installation into one file, while it runs.",
    "restore": "Bring an installation back from a backup.",
    "leftovers": "Compare the machines that are held with the rows.",
    "open": "Open a page in the browser, signed in: um open mlflow, um open instance NAME.",
}

_MODULES: Mapping[str, str] = {"backup": "backup", "restore": "backup"}


def group_of(noun: str) -> str | None:
    """The module that holds a group's commands; None for an unknown noun."""
    name = ALIASES.get(noun, noun)
    if name in INSTALLATION:
        return _MODULES.get(name, "installation")
    return GROUPS[name][0] if name in GROUPS else None
