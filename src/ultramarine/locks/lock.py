"""A lock, and how one is made."""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

from ultramarine.domain.conda import Wanted, from_requirements
from ultramarine.domain.environment import Accelerator
from ultramarine.domain.errors import InvalidInput
from ultramarine.locks.errors import LockFailed, LockTimedOut, Unsolvable, failure, warnings, without_secrets
from ultramarine.locks.site import SiteOptions

#: What the runner calls a platform -> what uv calls it.
PLATFORMS: Mapping[str, str] = {
    "linux-x86_64": "x86_64-unknown-linux-gnu",
    "linux-aarch64": "aarch64-unknown-linux-gnu",
}
_PASSED_ON = re.compile(r"^(UV_.*|.*_proxy|SSL_CERT_.*|PATH|HOME|LANG|TMPDIR|NETRC|XDG_.*)$", re.IGNORECASE)
_OPTIONS = (
    "--generate-hashes",
    "--only-binary",
    ":all:",
    "--no-annotate",
    "--no-header",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--color",
    "never",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """Exact versions with the hashes of their wheels, for one Python and one platform."""

    text: str  #: a requirements file with hashes; no index URLs
    python: str  #: x.y
    platform: str  #: a key of PLATFORMS
    packages: tuple[tuple[str, str], ...]  #: name, version: those that are installed for this Python and platform
    accelerator: Accelerator = Accelerator.CPU
    warnings: tuple[str, ...] = ()  #: what uv said when it was made; not kept with it

    @property
    def digest(self) -> str:
        """The environment's identity: sha256 (hex) over lock, Python, platform and accelerator."""
        canonical = {
            "accelerator": self.accelerator,
            "lock": self.text,
            "platform": self.platform,
            "python": self.python,
        }
        return hashlib.sha256(json.dumps(canonical, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_lock(text: str, *, python: str, platform: str, accelerator: Accelerator = Accelerator.CPU) -> Lock:
    """A lock from its text (line ends and blank lines do not count). Raises InvalidInput for an unknown platform."""
    if platform not in PLATFORMS:
        raise InvalidInput(
            f"There are no wheels to lock for the platform {platform!r}.", hint=f"Possible are {', '.join(PLATFORMS)}."
        )
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    system, _, machine = platform.partition("-")
    where = {
        **default_environment(),
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": system,
        "platform_system": system.capitalize(),
        "platform_machine": machine,
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    packages: list[tuple[str, str]] = []
    for line in lines:
        if line.startswith((" ", "\t")):
            continue
        pinned = Requirement(line.rstrip("\\").strip())
        if pinned.marker is None or pinned.marker.evaluate({key: str(value) for key, value in where.items()}):
            packages.append((pinned.name, str(pinned.specifier).removeprefix("==")))
    return Lock(
        text="".join(f"{line}\n" for line in lines),
        python=python,
        platform=platform,
        packages=tuple(packages),
        accelerator=accelerator,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Uv:
    """How uv is run here: the program, its cache folder, and where the site's packages come from."""

    program: str
    cache: Path
    options: SiteOptions


async def resolve(wanted: Wanted, *, python: str, platform: str, uv: Uv, timeout_s: float) -> Lock:
    """Find versions that fit together, by `uv pip compile`, from wheels only.

    `python` is x.y, `platform` a key of PLATFORMS. Nothing is built and nothing of a package is run.
    Raises RequirementRefused, Unsolvable (UnknownPackage, NoWheel), IndexUnreachable, LockTimedOut, LockFailed.
    """
    requirements = from_requirements(wanted.requirements).requirements
    if platform not in PLATFORMS or not requirements:
        return read_lock("", python=python, platform=platform)
    command = _command(uv, python=python, platform=platform)
    code, out, err = await _run(
        command, "\n".join(requirements) + "\n", variables=_variables(uv.options), timeout_s=timeout_s
    )
    if code != 0:
        raise failure(err)
    if "://" in out:
        raise LockFailed(
            f"uv wrote a URL into the lock: {without_secrets(out[:200])}", hint="Ask for packages by name and version."
        )
    made = read_lock(_kept_to(out, wanted.hashes), python=python, platform=platform)
    return replace(made, warnings=warnings(err))


def _kept_to(text: str, hashes: Mapping[str, frozenset[str]]) -> str:
    """The lock with only those files of a package that are wanted by hash. Raises Unsolvable where none is left."""
    if not text.strip():  # all that is wanted is for other Pythons
        return ""
    made: list[str] = []
    for block in re.split(r"\n(?=\S)", text.strip()):
        pinned, *files = (line.rstrip("\\").strip() for line in block.splitlines())
        allowed = hashes.get(Requirement(pinned).name)
        kept = [file for file in files if allowed is None or file.removeprefix("--hash=") in allowed]
        if files and not kept:
            raise Unsolvable(
                f"No file that the package index has of {pinned} bears a hash that is wanted of it.",
                hint=f"Write the sha256 of its wheels, or {pinned} without --hash: the lock has hashes of its own.",
            )
        made.append(" \\\n    ".join((pinned, *kept)))
    return "\n".join(made)


def _command(uv: Uv, *, python: str, platform: str) -> tuple[str, ...]:
    target = ("--python-version", python, "--python-platform", PLATFORMS[platform], "--python", sys.executable)
    more = ("--no-index",) if uv.options.no_index else ()
    cache = ("--cache-dir", str(uv.cache.absolute()))
    return (uv.program, "pip", "compile", "-", *_OPTIONS, *target, *cache, *more)


def _variables(options: SiteOptions) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if _PASSED_ON.match(name)}
    return {**kept, **options.to_uv_variables(), "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"}


async def _run(
    command: tuple[str, ...], given: str, *, variables: Mapping[str, str], timeout_s: float
) -> tuple[int, str, str]:
    """The program's exit code, stdout, stderr; its whole process group ends with the deadline, or when the caller is
    cancelled."""
    pipe = asyncio.subprocess.PIPE
    try:  # at `/`, where no project's uv.toml is above
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, cwd="/", env=dict(variables), start_new_session=True
        )
    except OSError as error:
        raise LockFailed(
            f"The uv program {command[0]!r} cannot be started: {error.strerror}.", hint="Install it: pip install uv"
        ) from None
    try:
        out, err = await asyncio.wait_for(process.communicate(given.encode()), timeout_s)
    except TimeoutError:
        raise LockTimedOut(
            f"No set of versions was found within {timeout_s:g} s.",
            hint="Pin more versions (fewer are tried then), or see whether the package index answers slowly.",
        ) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace")
