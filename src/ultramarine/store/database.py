"""Connections and transactions.

`Database.begin()` is a writing transaction, `Database.read()` a reading one; both give a `Tx`, whose `execute` is all that the rest of the store uses.
SQLite runs in WAL mode with `synchronous=FULL`; writers begin IMMEDIATE and queue here, so that "database is locked" cannot be met within one server.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool


class Tx(Protocol):
    """An open transaction."""

    async def execute(self, statement: Any, parameters: Any = None, /) -> sa.CursorResult[Any]: ...


class Database(Protocol):
    def begin(self) -> AbstractAsyncContextManager[Tx]:
        """A transaction that may write; it is kept when the block ends, undone when it raises."""
        ...

    def read(self) -> AbstractAsyncContextManager[Tx]:
        """A consistent view, for reading."""
        ...

    async def close(self) -> None: ...


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "busy_timeout=10000",
        "cache_size=-32000",
        "wal_autocheckpoint=4000",
    ):
        connection.execute(f"PRAGMA {pragma}")


class AsyncDatabase:
    """SQLite in a file (`sqlite:///…`), or PostgreSQL (`postgresql+psycopg://…`)."""

    def __init__(self, url: str) -> None:
        self._is_sqlite = url.startswith("sqlite")
        self._engine = create_async_engine(url.replace("sqlite:", "sqlite+aiosqlite:", 1), pool_size=4, max_overflow=8)
        self._one_writer = asyncio.Lock()
        if self._is_sqlite:
            sa.event.listen(self._engine.sync_engine, "connect", _set_up_sqlite)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Tx]:
        if not self._is_sqlite:
            async with self._engine.begin() as connection:
                yield connection
            return
        async with self._one_writer, self._engine.connect() as connection:
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                await connection.exec_driver_sql("ROLLBACK")
                raise
            await connection.exec_driver_sql("COMMIT")

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        async with self._engine.connect() as connection:
            if self._is_sqlite:
                await connection.exec_driver_sql("BEGIN")
            try:
                yield connection
            finally:
                await connection.exec_driver_sql("ROLLBACK") if self._is_sqlite else await connection.rollback()

    async def close(self) -> None:
        await self._engine.dispose()


class _InlineTx:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    async def execute(self, statement: Any, parameters: Any = None, /) -> sa.CursorResult[Any]:
        return self._connection.execute(statement, parameters)


class InlineDatabase:
    """SQLite in memory on the caller's own thread: what the simulator uses, where only one thing may run at a time."""

    def __init__(self) -> None:
        self._engine = sa.create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
        sa.event.listen(self._engine, "connect", _set_up_sqlite)

    @property
    def engine(self) -> sa.Engine:
        return self._engine

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Tx]:
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield _InlineTx(connection)
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        async with self.begin() as tx:
            yield tx

    async def close(self) -> None:
        self._engine.dispose()
