"""Connections and transactions.

`Database.begin()` is a writing transaction, `Database.read()` a reading one; both give a `Tx`, whose `execute`, and
`fetch` where rows are many, are all that the rest of the store uses.
SQLite runs in WAL mode with `synchronous=FULL`; writers begin IMMEDIATE and queue here, so that "database is locked"
cannot be met within one server.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from ultramarine.domain.database import for_sqlalchemy
from ultramarine.store.outage import limits, told

CONNECTIONS_KEPT, CONNECTIONS_MAX = 4, 12
MANY = 100  #: rows, from which on a statement is worth the trip to a thread
T = TypeVar("T")


def url_of(given: str, home: Path) -> str:
    """SQLAlchemy's name for what people write (`sqlite:///PATH`, `postgresql://…`); nothing: SQLite in the home."""
    return for_sqlalchemy(given) or f"sqlite:///{home / 'ultramarine.db'}"


class Tx(Protocol):
    """An open transaction."""

    async def execute(self, statement: Any, parameters: Any = None, /) -> sa.CursorResult[Any]: ...

    async def fetch(self, statement: Any, parameters: Any, read: Callable[[sa.CursorResult[Any]], T], /) -> T:
        """What `read` makes of the rows: of many, for which both together are worth one trip to a thread."""
        ...


class Database(Protocol):
    def begin(self) -> AbstractAsyncContextManager[Tx]:
        """A transaction that may write; it is kept when the block ends, undone when it raises."""
        ...

    def read(self) -> AbstractAsyncContextManager[Tx]:
        """A consistent view, for reading."""
        ...

    async def close(self) -> None: ...


ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"  #: of PostgreSQL: else each statement has its own


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
    """SQLite in a file (`sqlite:///…`), or PostgreSQL (`postgresql+psycopg://…`).

    What takes long is one trip to a thread: commits, which wait for the disk, statements of many rows, and all of
    PostgreSQL's. SQLite's other statements take a few microseconds, a tenth of what the trip would cost.
    """

    def __init__(self, url: str) -> None:
        self._is_sqlite = url.startswith("sqlite")
        self._url = url
        # The connection used last comes first: what it has read of a SQLite file is good until another one writes.
        self._engine = sa.create_engine(
            url,
            pool_size=CONNECTIONS_KEPT,
            max_overflow=CONNECTIONS_MAX - CONNECTIONS_KEPT,
            pool_use_lifo=True,
            connect_args={"check_same_thread": False} if self._is_sqlite else limits(url),
        )
        self._pool = ThreadPoolExecutor(CONNECTIONS_MAX, thread_name_prefix="store")
        # As many transactions as threads: one that is open always finds a thread for its next statement.
        self._room = asyncio.Semaphore(CONNECTIONS_MAX)
        self._one_writer = asyncio.Lock()
        if self._is_sqlite:
            event.listen(self._engine, "connect", _set_up_sqlite)

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[Tx]:
        async with self._one_writer if self._is_sqlite else contextlib.nullcontext(), self._room:
            tx = _Transaction(
                self._engine, self._pool, "BEGIN IMMEDIATE" if self._is_sqlite else "", is_near=self._is_sqlite
            )
            with told(self._url):
                try:
                    yield tx
                except BaseException:
                    await tx.end(is_kept=False)
                    raise
                await tx.end(is_kept=True)

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[Tx]:
        async with self._room:
            tx = _Transaction(
                self._engine, self._pool, "BEGIN" if self._is_sqlite else ONE_MOMENT, is_near=self._is_sqlite
            )
            try:
                with told(self._url):
                    yield tx
            finally:
                await tx.end(is_kept=False)

    async def close(self) -> None:
        """Put everything into the one file that a backup copies, and let go of it."""
        if self._is_sqlite:
            with self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        self._engine.dispose()
        self._pool.shutdown()


class _Transaction:
    """One connection, used by one thread at a time. It begins with its first statement.

    `first`: the words that it begins with. `is_near`: it waits for no network, so that not all goes to a thread.
    """

    def __init__(self, engine: sa.Engine, pool: ThreadPoolExecutor, first: str, *, is_near: bool) -> None:
        self._engine, self._pool, self._first, self._is_near = engine, pool, first, is_near
        self._connection: sa.Connection | None = None

    async def execute(self, statement: Any, parameters: Any = None, /) -> sa.CursorResult[Any]:
        if self._is_quick(parameters):
            return self._opened().execute(statement, parameters)
        return await self._in_thread(lambda: self._fetched(statement, parameters))

    async def fetch(self, statement: Any, parameters: Any, read: Callable[[sa.CursorResult[Any]], T], /) -> T:
        return await self._in_thread(lambda: read(self._executed(statement, parameters)))

    async def end(self, *, is_kept: bool) -> None:
        if self._connection is None:
            return
        if is_kept or not self._is_near:
            await self._in_thread(lambda: self._end(is_kept))
        else:
            self._end(is_kept)

    def _is_quick(self, parameters: Any) -> bool:
        is_bulk = isinstance(parameters, list) and len(cast("list[Any]", parameters)) > MANY
        return self._is_near and not is_bulk

    def _opened(self) -> sa.Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
            if self._first:
                self._connection.exec_driver_sql(self._first)
        return self._connection

    def _fetched(self, statement: Any, parameters: Any) -> sa.CursorResult[Any]:
        result = self._executed(statement, parameters)
        return cast("sa.CursorResult[Any]", result.freeze()()) if result.returns_rows else result

    def _executed(self, statement: Any, parameters: Any) -> sa.CursorResult[Any]:
        is_first = self._connection is None
        try:
            return self._opened().execute(statement, parameters)
        except DBAPIError as error:
            if not (is_first and error.connection_invalidated):
                raise
            self._end(is_kept=False)  # the pool held a connection that the server has dropped: nothing was done yet
            self._connection = None
            return self._opened().execute(statement, parameters)

    def _end(self, is_kept: bool) -> None:
        assert self._connection is not None
        try:
            if is_kept:
                self._connection.commit()
        finally:
            self._connection.close()  # undoes what was not kept

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Its result. A thread cannot be interrupted, so who is cancelled first waits for its end."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait({future})
            raise


class _InlineTx:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    async def execute(self, statement: Any, parameters: Any = None, /) -> sa.CursorResult[Any]:
        return self._connection.execute(statement, parameters)

    async def fetch(self, statement: Any, parameters: Any, read: Callable[[sa.CursorResult[Any]], T], /) -> T:
        return read(self._connection.execute(statement, parameters))


class InlineDatabase:
    """SQLite in memory on the caller's own thread: what the simulator uses, where only one thing may run at a time."""

    def __init__(self) -> None:
        self._engine = sa.create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
        event.listen(self._engine, "connect", _set_up_sqlite)

    @property
    def engine(self) -> sa.Engine:
        return self._engine

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[Tx]:
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield _InlineTx(connection)
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[Tx]:
        async with self.begin() as tx:
            yield tx

    async def close(self) -> None:
        self._engine.dispose()
