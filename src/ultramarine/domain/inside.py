"""What a compute instance runs beside JupyterLab: its set-up scripts and custom applications."""

import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator, model_validator

from ultramarine.domain.spec import Spec

SCRIPT_MINUTES, SCRIPT_MINUTES_MAX = 15, 25  #: as at Azure ML
SCRIPT_BYTES_MAX = 256 * 1024  #: what is larger is fetched by the script itself
COMMAND_LENGTH_MAX = 32 * 1024
APPLICATIONS_MAX = 10
PORT_MIN, PORT_MAX = 1024, 65535  #: below are the system's
CREATION, STARTUP = "creation_script", "startup_script"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
#: Fields of Azure ML's, whose applications are containers, with what is done here in place of each.
_OF_CONTAINERS: Mapping[str, str] = {
    "type": "write command: and port: alone",
    "image": "install the program in a set-up script, and start it by command:",
    "endpoints": "write port: for the one that it listens at; browsers reach it by its name, at no port",
    "target_port": "write port:",
    "published_port": "write port: for the one that it listens at; browsers reach it by its name, at no port",
    "bind_mounts": "it sees the home folder as it is",
    "environment_variables": "write them before the program: command: NAME=value program",
}


class Script(Spec):
    """A file, a command, or a file with the command as its arguments."""

    path: str | None = None
    command: str = Field(default="", max_length=COMMAND_LENGTH_MAX)
    timeout_minutes: int = Field(default=SCRIPT_MINUTES, ge=1, le=SCRIPT_MINUTES_MAX)

    @model_validator(mode="after")
    def _whole(self) -> "Script":
        if not self.path and not self.command.strip():
            raise ValueError("it has neither a path nor a command; write command: or path:")
        if self.path:
            try:
                shlex.split(self.command)
            except ValueError as error:
                raise ValueError(f"command: it cannot be taken apart into the script's arguments: {error}") from None
        return self


class SetupScripts(Spec):
    """What is run once in its life, and at each start."""

    creation_script: Script | None = None
    startup_script: Script | None = None

    @property
    def given(self) -> dict[str, Script]:
        """Those that there are, by their fields."""
        both = {CREATION: self.creation_script, STARTUP: self.startup_script}
        return {name: script for name, script in both.items() if script is not None}


class CustomApplication(Spec):
    """A program that is started beside JupyterLab, and listens at a port of the machine's own address."""

    name: str
    command: str = Field(max_length=COMMAND_LENGTH_MAX)
    port: int = Field(ge=PORT_MIN, le=PORT_MAX)

    @model_validator(mode="before")
    @classmethod
    def _no_container(cls, value: Any) -> Any:
        for field, instead in _OF_CONTAINERS.items():
            if isinstance(value, Mapping) and field in value:
                raise ValueError(f"{field}: an application is a program here, and no container: {instead}")
        return value  # pyright: ignore[reportUnknownVariableType]

    @field_validator("name")
    @classmethod
    def _fits_an_address(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("it stands in an address: small letters, digits and '-' between them, 32 at most")
        return name

    @field_validator("command")
    @classmethod
    def _says_something(cls, command: str) -> str:
        if not command.strip():
            raise ValueError("it is empty; write what starts the application")
        return command


def _told_apart(given: list[CustomApplication]) -> list[CustomApplication]:
    for field, seen in (("name", [one.name for one in given]), ("port", [one.port for one in given])):
        if twice := _twice(seen):
            raise ValueError(f"two applications have the {field} {twice[0]}")
    return given


def _twice(seen: Sequence[object]) -> list[object]:
    return [each for each, times in Counter(seen).items() if times > 1]


CustomApplications = Annotated[list[CustomApplication], Field(max_length=APPLICATIONS_MAX), AfterValidator(_told_apart)]
