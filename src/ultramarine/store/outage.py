"""A database that does not serve, in words for people; and how soon we take it for gone."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError

from ultramarine.domain.database import for_libpq, is_postgresql, without_password
from ultramarine.domain.errors import StaleWrite, UltramarineError, Unavailable

RACES = ("40001", "40P01")  #: SQLSTATE: of two transactions that stand in each other's way one is undone
AWAY = ("08", "28", "3D", "53", "57")  #: classes: no connection, nobody let in, no such database, full, shut down
READ_ONLY = "25006"  #: another machine has taken over from this one
WORDS_MAX = 300
#: libpq's, in seconds (the last: milliseconds): a machine that is gone says nothing, and is waited for no longer.
LIMITS = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


def limits(url: str) -> dict[str, Any]:
    """What a connection is opened with; what the address says itself stays so."""
    if not is_postgresql(url):
        return {}
    return {name: value for name, value in LIMITS.items() if name not in sa.make_url(url).query}


@contextmanager
def told(url: str) -> Generator[None]:
    """Raises `Unavailable` and `StaleWrite` in place of what PostgreSQL's driver raises for them."""
    try:
        yield
    except DBAPIError as error:
        meant = _meaning(error, url) if is_postgresql(url) else None
        if meant is None:
            raise
        raise meant from error


def _meaning(error: DBAPIError, url: str) -> UltramarineError | None:
    """None: it is a mistake of ours."""
    state: str | None = getattr(error.orig, "sqlstate", None)
    place = without_password(for_libpq(url))
    if state in RACES:
        return StaleWrite("database", place)
    is_cut_off = error.connection_invalidated or (state is None and isinstance(error, OperationalError))
    if not is_cut_off and state != READ_ONLY and not (state or "").startswith(AWAY):
        return None
    why = str(error.orig).strip().partition("\n")[0].removeprefix("connection failed: ")[:WORDS_MAX]
    return Unavailable(
        f"The database {place} does not answer: {why}.",
        hint="Nothing that was accepted is lost, and what runs goes on: ask again when it is back. "
        f"On the server's machine: psql '{place}'",
    )
