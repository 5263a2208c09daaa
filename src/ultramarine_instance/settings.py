"""What the control plane says of an instance, as JSON: see docs/reference/instance.md."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ultramarine_runner.environments import Recipe

SCRIPT_MINUTES = 15.0  #: what a set-up script may take where nothing is said
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
PORT_MAX = 65535


class BadSettings(Exception):
    """The file cannot be read, or a field of it cannot be taken; says which, and what was there."""


@dataclass(frozen=True)
class Script:
    """A set-up script: a file that came along, a command, or a file with the command as its arguments."""

    name: str
    command: str
    file: str
    timeout_s: float


@dataclass(frozen=True)
class Application:
    """A program beside JupyterLab that listens at a port of this machine."""

    name: str
    command: str
    port: int


@dataclass(frozen=True)
class Settings:
    """All of it. What is not there is empty."""

    workspace: str
    name: str
    owner: str = ""
    creation: Script | None = None
    startup: Script | None = None
    applications: tuple[Application, ...] = ()
    behind: Mapping[str, Recipe] = field(default_factory=dict[str, Recipe])  #: by Python, what makes a kernel
    client: Mapping[str, Recipe] = field(default_factory=dict[str, Recipe])  #: the same, what the client imports
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])  #: the site's, for building environments


def load(file: Path) -> Settings:
    """Raises BadSettings."""
    try:
        raw: Any = json.loads(file.read_bytes())
        return _read(raw)
    except (OSError, ValueError) as error:
        raise BadSettings(f"The settings {file} cannot be read: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise BadSettings(f"The settings {file} cannot be read: {type(error).__name__} {error}") from None


def _read(raw: Mapping[str, Any]) -> Settings:
    scripts: Mapping[str, Any] = raw.get("setup_scripts") or {}
    applications = tuple(_application(one) for one in raw.get("custom_applications") or ())
    if len({one.name for one in applications}) < len(applications):
        raise ValueError("custom_applications: two of them have the same name.")
    return Settings(
        workspace=str(raw["workspace"]),
        name=str(raw["name"]),
        owner=str(raw.get("owner") or ""),
        creation=_script("creation", scripts.get("creation_script")),
        startup=_script("startup", scripts.get("startup_script")),
        applications=applications,
        behind=_recipes(raw.get("kernels")),
        client=_recipes(raw.get("client")),
        options=raw.get("options") or {},
    )


def _script(name: str, raw: Mapping[str, Any] | None) -> Script | None:
    if not raw:
        return None
    command, file = str(raw.get("command") or ""), str(raw.get("file") or "")
    if not command and not file:
        raise ValueError(f"setup_scripts.{name}_script has neither a command nor a file.")
    if file and not _FILE.fullmatch(file):
        raise ValueError(f"setup_scripts.{name}_script.file: {file!r} is no name of a file beside the settings.")
    minutes = float(raw.get("timeout_minutes") or SCRIPT_MINUTES)
    if not minutes > 0:
        raise ValueError(f"setup_scripts.{name}_script.timeout_minutes: {minutes} is not more than 0.")
    return Script(name=name, command=command, file=file, timeout_s=minutes * 60)


def _application(raw: Mapping[str, Any]) -> Application:
    name, command, port = str(raw["name"]), str(raw["command"]), int(raw["port"])
    if not _NAME.fullmatch(name):
        raise ValueError(f"custom_applications.name: {name!r} is not of small letters, digits and '-'.")
    if not command.strip():
        raise ValueError(f"custom_applications: {name} has no command.")
    if not 1024 <= port <= PORT_MAX:
        raise ValueError(f"custom_applications: port {port} of {name} is not between 1024 and {PORT_MAX}.")
    return Application(name=name, command=command, port=port)


def _recipes(raw: Mapping[str, Any] | None) -> dict[str, Recipe]:
    return {
        python: Recipe(digest=str(one["digest"]), lock=str(one["lock"]).encode(), python=python)
        for python, one in (raw or {}).items()
    }
