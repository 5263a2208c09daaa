"""What a compute instance runs beside JupyterLab: its set-up scripts."""

import shlex

from pydantic import Field, model_validator

from ultramarine.domain.spec import Spec

SCRIPT_MINUTES, SCRIPT_MINUTES_MAX = 15, 25  #: as at Azure ML
SCRIPT_BYTES_MAX = 256 * 1024  #: what is larger is fetched by the script itself
COMMAND_LENGTH_MAX = 32 * 1024
CREATION, STARTUP = "creation_script", "startup_script"


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
