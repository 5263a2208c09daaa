"""`python -m ultramarine.tracking.launch --home H`: make what MLflow needs, then become MLflow.

Started by the supervisor as a child; standard library only, so that it starts at once. Killed at any instant and
started again, it goes on where it was. Its process id stays the same: it executes the server in its own place.

Under `H`: `mlflow/env-<digest>/` the environment, `mlflow/mlflow.db`, `mlflow/artifacts/`, `mlflow/tmp/`,
`run/mlflow.sock` where it answers, `run/control.sock` where it asks the control plane, `run/internal.secret`.
With `ULTRAMARINE_DATABASE_URL` a PostgreSQL takes the place of `mlflow.db`: its schema `mlflow` beside our tables.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from ultramarine.domain.database import MLFLOW_SCHEMA, for_sqlalchemy, is_postgresql
from ultramarine.tracking.database import ensure_database
from ultramarine.tracking.environment import PLUGIN, BuildFailed, Environment, ensure_environment
from ultramarine.tracking.progress import say

PREFIX = "/mlflow"
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "TMPDIR")
_INHERITED_PREFIXES = (
    "PIP_",
    "UV_",
    "XDG_",
    "SSL_",
    "REQUESTS_",
    "CURL_",
    "HTTP_",
    "HTTPS_",
    "NO_PROXY",
    "ALL_PROXY",
    "PG",
)

_SOURCES = r"^(mlflow-artifacts:/[^/]|runs:/[^/]|models:/[^/]|[a-z-]+$)"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m ultramarine.tracking.launch")
    parser.add_argument("--home", type=Path, required=True, help="the installation's folder")
    parser.add_argument(
        "--environments",
        type=Path,
        help="where MLflow's environment is kept (HOME/mlflow, or ULTRAMARINE_CACHE/mlflow)",
    )
    given = parser.parse_args(arguments)
    home: Path = given.home.resolve()
    environ = inherited(os.environ)
    environments = given.environments or shared(os.environ) or home / "mlflow"
    for folder in (home / "mlflow" / "artifacts", home / "run"):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in (home / "mlflow", home / "run"):
        folder.chmod(0o700)  # its socket lets in whoever reaches it
    try:
        environment = ensure_environment(environments, environ=environ)
        store = os.environ.get("ULTRAMARINE_DATABASE_URL", "")
        if is_postgresql(store):
            store = for_sqlalchemy(store, schema=MLFLOW_SCHEMA)  # brought up to date by plugin/…/app.py
        else:
            ensure_database(home / "mlflow" / "mlflow.db", environment, environ=environ)
            store = f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"
    except (BuildFailed, OSError) as error:
        say(f"cannot start: {error}")
        return 1
    shutil.rmtree(home / "mlflow" / "tmp", ignore_errors=True)
    (home / "mlflow" / "tmp").mkdir()
    say("starting")
    command = server_command(home, environment)
    return os.execve(command[0], command, {**environ, **server_variables(home, store)})


def server_command(home: Path, environment: Environment) -> list[str]:
    """MLflow's application in one process of its own Python, on a Unix socket."""
    return [
        *(str(environment.python), "-I", "-B", "-u", "-W", "ignore", "-m", "uvicorn"),
        *("--app-dir", str(PLUGIN), "--uds", str(home / "run" / "mlflow.sock")),
        *("--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "5"),
        "ultramarine_mlflow.app:app",
    ]


def server_variables(home: Path, store: str) -> dict[str, str]:
    """MLflow's settings, and where its plugin finds the control plane."""
    folder = home / "mlflow"
    return {
        "_MLFLOW_STATIC_PREFIX": PREFIX,
        "_MLFLOW_SERVER_FILE_STORE": store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_ENABLE_WORKSPACES": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
        "MLFLOW_ENABLE_ASSISTANT_SANDBOX": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Registered from what is here, or a prompt; never from an address that the server would have to call.
        "MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX": _SOURCES,
        # Hosts and origins are the gateway's business: only it reaches the socket, and it knows the address in use.
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true",
        "ULTRAMARINE_CONTROL_SOCKET": str(home / "run" / "control.sock"),
        "ULTRAMARINE_INTERNAL_SECRET": str(home / "run" / "internal.secret"),
        "TMPDIR": str(folder / "tmp"),
    }


def shared(environ: Mapping[str, str]) -> Path | None:
    """Where several installations keep MLflow's environment together (docs/reference/settings.md)."""
    cache = environ.get("ULTRAMARINE_CACHE")
    return Path(cache).expanduser().absolute() / "mlflow" if cache else None


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """What the site set for everybody; no setting of MLflow's or Python's from outside."""
    return {
        name: value
        for name, value in environ.items()
        if name in _INHERITED or name.upper().startswith(_INHERITED_PREFIXES)
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
