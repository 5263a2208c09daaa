"""MLflow's own environment: built once from the lock, aside, and renamed when it is whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ultramarine.locks import venv
from ultramarine.locks.venv import BuildFailed
from ultramarine.tracking.progress import say

__all__ = ["BuildFailed", "Environment", "ensure_environment", "environment_in", "migrate"]

HERE = Path(__file__).parent
LOCK = HERE / "mlflow.lock"
PLUGIN = HERE / "plugin"
_LAYOUT = "1"  # change it when what is built changes, but not by the lock
_MIGRATE = (
    "import sys; sys.path.insert(0, sys.argv[1]); from ultramarine_mlflow.migrate import migrate; migrate(sys.argv[2])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A folder with MLflow's virtual environment and an empty database of its schema."""

    folder: Path
    digest: str

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def empty_database(self) -> Path:
        return self.folder / "empty.db"

    @property
    def is_whole(self) -> bool:
        """It was built, and the Python that it stands on is still there."""
        return self.python.exists()


def environment_in(folder: Path) -> Environment:
    """Where the environment of this lock, Python and platform is, or will be."""
    digest = venv.digest(LOCK, _LAYOUT)
    return Environment(folder=folder / f"env-{digest}", digest=digest)


def ensure_environment(folder: Path, *, environ: Mapping[str, str]) -> Environment:
    """The environment under `folder`; built first where it is missing. Of several callers at once, one builds.

    Raises:
        BuildFailed: a package cannot be had, or the disk is full; nothing half-made is left visible.
    """
    wanted = environment_in(folder)

    def finish(aside: Path) -> None:
        made = Environment(folder=aside, digest=wanted.digest)
        say("environment: the last step, an empty database")
        migrate(made, made.empty_database, environ=environ)

    venv.ensure(wanted.folder, LOCK, environ=environ, say=say, finish=finish)
    return wanted


def migrate(environment: Environment, database: Path, *, environ: Mapping[str, str]) -> None:
    """Bring an SQLite file, empty or of an older MLflow, to this MLflow's schema, in place.

    Raises:
        BuildFailed: MLflow refused; its own words are in the text.
    """
    command = [str(environment.python), "-I", "-B", "-W", "ignore", "-c", _MIGRATE, str(PLUGIN), str(database)]
    venv.run(command, {**environ, "MLFLOW_DISABLE_TELEMETRY": "true", "TMPDIR": str(database.parent)})
