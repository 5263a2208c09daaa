"""What is in a backup, and in which order: a tar file whose first member describes it and whose last one closes it.

`backup.json`; the database; MLflow's database; files; MLflow's artifacts; `SHA256SUMS`, as `sha256sum -c` reads it.
From PostgreSQL both databases are dumps of one moment.

The order makes it one consistent set though all goes on: a row is written after the files that it names, and files
never change, so what is copied after the database has all that the database knows of. MLflow's database comes after
ours, which says what MLflow has been told.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict

from ultramarine.store.dumps import DUMPS

FORMAT = 1
DESCRIPTION, SUMS = "backup.json", "SHA256SUMS"
DATABASE, MLFLOW_DATABASE, MLFLOW_SCHEMA = "ultramarine.db", "mlflow/mlflow.db", "mlflow/mlflow.db.schema"
FILES, ARTIFACTS = "files", "mlflow/artifacts"
IN_HOME = (DATABASE, MLFLOW_DATABASE, MLFLOW_SCHEMA, FILES, ARTIFACTS)
#: In the backup's order. Dumps of PostgreSQL are in place of the databases, and never in a home.
PARTS = (*DUMPS, *IN_HOME)
UNFINISHED = f"{FILES}/incoming"  #: uploads on their way: of no row
OWNER_OF_FILES = f"{FILES}/owner"  #: the fingerprint of the master key of the installation that they are of
WAL = ("-wal", "-shm")  #: of a database, in the home alone
MASTER_KEY = "master.key"
CHUNK_BYTES = 1 << 20


class Description(BaseModel):
    """`backup.json`. `database`: `sqlite` or `postgresql`; a backup goes back to where it came from."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    format: int
    version: str
    made_at: str
    home: str
    host: str
    database: str
    schema_revision: str
    epoch: str
    jobs: int
    key_fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Of one part of an installation."""

    files: int = 0
    bytes: int = 0

    def plus(self, bytes: int) -> "Size":
        return Size(files=self.files + 1, bytes=self.bytes + bytes)


def files_under(home: Path, part: str) -> Iterator[str]:
    """Paths in the home of all plain files of a part, one after the other: there may be millions."""
    folders = [home / part]
    while folders:
        folder = folders.pop()
        try:
            entries = list(folder.iterdir())
        except FileNotFoundError:
            continue  # removed in between
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink():
                folders += [entry] if entry != home / UNFINISHED else []
            elif entry.is_file() and not entry.is_symlink():
                yield str(entry.relative_to(home))


def line_of_sums(sha256: str, path: str) -> bytes:
    """As `sha256sum` writes it: a name with a line's end in it is marked and escaped."""
    plain = path.replace("\\", "\\\\").replace("\n", "\\n")
    return f"{'' if plain == path else chr(92)}{sha256}  {plain}\n".encode(errors="surrogateescape")


def part_of(path: str) -> str | None:
    """Which part a member of a backup belongs to; None for one that has no business there."""
    plain = PurePosixPath(path)
    if path != str(plain) or plain.is_absolute() or ".." in plain.parts:
        return None
    return next((part for part in PARTS if path == part or path.startswith(f"{part}/")), None)
