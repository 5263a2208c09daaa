"""`python -m ultramarine.server.database`: before a start with `ULTRAMARINE_DATABASE_URL`, whether it can be used.

It answers, and home and database are of one installation. Where the database is, is kept in the home, without a
password: who starts or backs up that home later need not say it again.
"""

import sys
from pathlib import Path

from ultramarine.backup.contents import DATABASE, FILES, MASTER_KEY, OWNER_OF_FILES
from ultramarine.domain.database import for_libpq, is_postgresql, without_password
from ultramarine.domain.errors import Conflict, InvalidInput, UltramarineError, Unavailable
from ultramarine.private import write_private
from ultramarine.server import failing
from ultramarine.services.secrets import Secrets
from ultramarine.settings import Settings
from ultramarine.store import backups
from ultramarine.store.database import url_of
from ultramarine.supervision.home import DATABASE_FILE


def check(address: str, home: Path) -> None:
    """Raises `InvalidInput`, `Conflict`, and `Unavailable` when the database does not answer."""
    shown = without_password(address)
    if address.startswith("sqlite:///"):
        return
    if not is_postgresql(address):
        raise InvalidInput(
            f"{shown} is no address of a database.", hint="Give postgresql://USER@HOST/NAME, or sqlite:///PATH."
        )
    if (home / DATABASE).exists():
        raise Conflict(
            f"{home} has its store in {DATABASE}, a SQLite file, and what is in it does not move to {shown} by itself.",
            hint=f"um up --home OTHER --database {shown} begins anew there; without --database this one goes on.",
        )
    try:
        there = backups.about(url_of(address, home))
    except Unavailable as away:
        where = "~/.pgpass, PGPASSWORD or ULTRAMARINE_DATABASE_URL"
        raise Unavailable(
            str(away), hint=f"Nothing was started. Try: psql '{for_libpq(shown)}'. Its password stands in {where}."
        ) from away
    if there is not None:
        _check_home(home, shown)
    write_private(home / DATABASE_FILE, shown)


def _check_home(home: Path, shown: str) -> None:
    """The database has an installation: what belongs to it besides must be here."""
    if not (home / MASTER_KEY).exists():
        raise Conflict(
            f"{shown} has an installation in it, and its master key is not in {home}.",
            hint=f"From the server that began it: cp {MASTER_KEY} {home}/ (how-to: the store in PostgreSQL). "
            "For a new installation give an empty database.",
        )
    of_files, was_started = home / OWNER_OF_FILES, (home / "connection.json").exists()
    if not of_files.exists() and not was_started:
        raise Conflict(
            f"{shown} has an installation in it, and its files are not in {home / FILES}.",
            hint="Make that folder the shared one of its servers (how-to: the store in PostgreSQL).",
        )
    if of_files.exists() and of_files.read_text() != Secrets.at(home / MASTER_KEY).fingerprint:
        raise Conflict(
            f"The files in {home / FILES} are of an installation with another {MASTER_KEY} than {home / MASTER_KEY}.",
            hint=f"From the server that began it: cp {MASTER_KEY} {home}/",
        )


def main() -> int:
    """Exit code 2: it cannot be used; stderr says why, and in its last line what to type."""
    settings = Settings()
    try:
        check(settings.database_url, settings.home.absolute())
    except UltramarineError as error:
        return failing.say(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
