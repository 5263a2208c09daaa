"""What runs in a compute instance beside JupyterLab, as it is taken and handed on: set-up scripts and applications."""

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from ultramarine.domain.compute import Compute
from ultramarine.domain.errors import Conflict, InvalidInput, TooLarge
from ultramarine.domain.inside import PORT_MAX, PORT_MIN, SCRIPT_BYTES_MAX, Script
from ultramarine.domain.instance import InstanceSpec
from ultramarine.services.context import Context
from ultramarine.services.snapshots import get_snapshot, uploaded
from ultramarine.store import computes
from ultramarine.store.database import Tx

_OTHER_PORT = "Name another port; the command finds it in $PORT."


def check(ctx: Context, spec: InstanceSpec) -> None:
    """Raise `InvalidInput` and its kin for a script whose file is not here or is none, and for a port of our own."""
    files(ctx, spec)
    own = set(_own_ports(ctx))
    for application in spec.custom_applications:
        if application.port in own:
            raise InvalidInput(
                f"custom_applications: {application.port}, the port of {application.name}, is this installation's own.",
                hint=f"{_OTHER_PORT} Its own are {', '.join(map(str, sorted(own)))}.",
            )


async def check_ports(tx: Tx, compute: Compute) -> None:
    """Raise `Conflict` for a port that another instance of its machine has: one would be shown as the other's."""
    if not (wanted := applications(compute.spec)):
        return
    others = [each for each in await computes.every(tx) if each.host == compute.host and each.id != compute.id]
    taken = {port for other in others for port in applications(other.spec).values()}
    for name, port in wanted.items():
        if port in taken:
            raise Conflict(
                f"custom_applications: {port}, the port of {name}, is another compute instance's on this machine.",
                hint=f"{_OTHER_PORT} Nobody has {_free(port, taken | set(wanted.values()))}.",
            )


def applications(spec: object) -> Mapping[str, int]:
    """By name of a custom application, its port; of what is no instance none."""
    return {one.name: one.port for one in spec.custom_applications} if isinstance(spec, InstanceSpec) else {}


def _own_ports(ctx: Context) -> Iterator[int]:
    """At which something of this installation may listen itself."""
    site = ctx.site
    for address in (site.address, site.second_address, site.instances_address):
        port = address.rpartition(":")[2]
        if port.isdigit():
            yield int(port)
    for port, others in site.ports.items():
        yield from (port, *others)


def _free(port: int, taken: Set[int]) -> int:
    """The next one, round the end."""
    after = (*range(port + 1, PORT_MAX + 1), *range(PORT_MIN, port))
    return next(other for other in after if other not in taken)


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
    return {
        "setup_scripts": scripts,
        "custom_applications": [one.model_dump() for one in spec.custom_applications],
    }


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
