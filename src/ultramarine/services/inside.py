"""What runs in a compute instance beside JupyterLab: set-up scripts, as they are taken and handed on."""

from collections.abc import Mapping, Sequence
from typing import Any

from ultramarine.domain.errors import InvalidInput, TooLarge
from ultramarine.domain.inside import SCRIPT_BYTES_MAX, Script
from ultramarine.domain.instance import InstanceSpec
from ultramarine.services.context import Context
from ultramarine.services.snapshots import get_snapshot, uploaded


def check(ctx: Context, spec: InstanceSpec) -> None:
    """Raise `InvalidInput`, `NotFound` or `TooLarge` for a script whose file is not here or is none."""
    files(ctx, spec)


def files(ctx: Context, spec: InstanceSpec) -> Sequence[Mapping[str, str]]:
    """The scripts that come along, for the runner to lay beside the settings."""
    return [
        {"path": _file(name), "sha256": _blob(ctx, script.path, field=f"setup_scripts.{name}.path")}
        for name, script in _scripts(spec).items()
        if script.path
    ]


def settings(spec: InstanceSpec) -> Mapping[str, Any]:
    """For the program inside (docs/reference/instance.md)."""
    scripts = {
        name: {
            "command": script.command,
            "file": _file(name) if script.path else "",
            "timeout_minutes": script.timeout_minutes,
        }
        for name, script in _scripts(spec).items()
    }
    return {"setup_scripts": scripts}


def _scripts(spec: InstanceSpec) -> Mapping[str, Script]:
    return {} if spec.setup_scripts is None else spec.setup_scripts.given


def _file(name: str) -> str:
    return f"{name}.sh"


def _blob(ctx: Context, path: str, *, field: str) -> str:
    """The hash of the one file of the snapshot that `path` names."""
    manifest = get_snapshot(ctx, uploaded(ctx, path, field=field))
    if manifest.kind != "file":
        raise InvalidInput(f"{field}: {path} is a folder, and no script.", hint="Name the script itself.")
    (script,) = manifest.files
    size = ctx.blobs.path(script.sha256).stat().st_size
    if size > SCRIPT_BYTES_MAX:
        raise TooLarge(
            f"{field}: {script.path} has {size} bytes; a set-up script may have {SCRIPT_BYTES_MAX}.",
            hint="Let the script fetch what is large.",
        )
    return script.sha256
