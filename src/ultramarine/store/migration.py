"""Bringing a database to the schema of this version, with Alembic."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from ultramarine.domain.errors import Conflict


def migrate(url: str) -> None:
    """Make or upgrade the tables. `url` is synchronous (`sqlite:///…`, `postgresql+psycopg://…`). Raises `Conflict` for a newer database."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            _refuse_newer(config, connection, url)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def _refuse_newer(config: Config, connection: sa.Connection, url: str) -> None:
    now = MigrationContext.configure(connection).get_current_revision()
    if now is None:
        return
    try:
        ScriptDirectory.from_config(config).get_revision(now)
    except CommandError:
        shown = sa.make_url(url).render_as_string(hide_password=True)
        raise Conflict(
            f"The database {shown} has schema {now}, which this version of Ultramarine does not know: a newer version has used it.",
            hint="Install that newer version again, or restore a backup that was made before the upgrade.",
        ) from None
