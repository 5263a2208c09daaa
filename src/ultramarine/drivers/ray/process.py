"""The engine's process: its environment is built, it is started, and started again when it ends."""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ultramarine.locks import venv

log = logging.getLogger(__name__)
HERE = Path(__file__).parent
ENGINE, LOCK = HERE / "engine", HERE / "ray.lock"
RETRY_S, RETRY_S_MAX = 0.1, 5.0
GOOD_S = 30.0  #: who has lived so long is started again at once
PATIENCE_S, PATIENCE_S_MAX = 20.0, 160.0  #: that Ray has to take the engine: ever longer, for a machine may be slow
LATE = 75  #: the engine's exit status when it had not


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """`address`: of the cluster's head, `host:port`; `token`: the file with its token, or None where it has none.

    `namespace`: what is ours in the cluster; of two installations on one cluster each has another.
    """

    address: str
    token: Path | None
    namespace: str
    socket: Path
    environments: Path  #: the folder in which Ray's environment is kept
    node: str = ""


def ensure_environment(folder: Path, environ: Mapping[str, str]) -> Path:
    """The Python with Ray, built first where it is missing. Raises `BuildFailed`."""
    place = folder / f"env-{venv.digest(LOCK, '1')}"
    venv.ensure(place, LOCK, environ=environ, say=lambda words: log.info("ray: %s", words))
    return place / "bin" / "python"


async def keep(settings: EngineSettings) -> None:
    """Keep the engine running until this task is canceled, which ends it."""
    retry_s, patience_s, clock = RETRY_S, PATIENCE_S, asyncio.get_running_loop().time
    while True:
        began = clock()
        try:
            python = await asyncio.to_thread(ensure_environment, settings.environments, os.environ)
            code = await _live(settings, python, patience_s)
            patience_s = min(PATIENCE_S_MAX, patience_s * 2) if code == LATE else PATIENCE_S
            log.warning("ray: the engine has ended with %s; it is started again in %.2g s", code, retry_s)
        except (venv.BuildFailed, OSError) as failure:
            log.warning("ray: the engine cannot be started: %s", failure)
        retry_s = RETRY_S if clock() - began > GOOD_S else min(RETRY_S_MAX, retry_s * 2)
        await asyncio.sleep(retry_s)


async def _live(settings: EngineSettings, python: Path, patience_s: float) -> int:
    """One life of it. It goes when its standard input is closed, so it never outlives this process."""
    engine = await asyncio.create_subprocess_exec(
        *(str(python), "-I", "-B", str(ENGINE)),
        *(settings.address, settings.namespace, str(settings.socket), settings.node, str(patience_s)),
        stdin=asyncio.subprocess.PIPE,
        stdout=sys.stderr,
        env=_environment(settings),
    )
    try:
        return await engine.wait()
    finally:
        if engine.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                engine.kill()  # nothing is lost: all that it knows is in the cluster
            await asyncio.shield(engine.wait())


def _environment(settings: EngineSettings) -> dict[str, str]:
    """Ours without what others set of Ray's; the token by the name of its file."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "ULTRAMARINE_"))}
    plain["RAY_USAGE_STATS_ENABLED"] = "0"
    if settings.token is not None:
        plain |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(settings.token)}
    return plain
