"""A package index of our own on loopback, its wheels made here: no network, and it can be told to be slow or silent."""

import base64
import hashlib
import os
import threading
import zipfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


def make_wheel(folder: Path, name: str, version: str = "1.0", *, needs: tuple[str, ...] = (), filler: int = 0) -> str:
    """Write a wheel with one module and one command; its sha256."""
    about = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": f"VERSION = {version!r}\n\n\ndef main():\n    print({name!r}, VERSION)\n",
        f"{name}/filler.txt": "x" * filler,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {need}\n" for need in needs),
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": f"[console_scripts]\n{name}-says = {name}:main\n",
    }
    record = (
        "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items()) + f"{about}/RECORD,,\n"
    )
    file = folder / f"{name}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, text in {**files, f"{about}/RECORD": record}.items():
            # The same bytes whenever it is made: a `ZipInfo` of its own has no time of day.
            wheel.writestr(zipfile.ZipInfo(path), text, zipfile.ZIP_DEFLATED)
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


class Index(ThreadingHTTPServer):
    """Serves the wheels of a folder as `/simple/<name>/`. `open` lets answers out; `asked` is what was asked for.

    Files in `withdrawn` are listed as such, with the reason; `refusing` the status that a package gets.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open = threading.Event()
        self.open.set()
        self.asked: list[str] = []
        self.withdrawn: dict[str, str] = {}
        self.refusing: dict[str, int] = {}
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/simple"


class _Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Index)
        self.server.asked.append(self.path)
        self.server.open.wait(60)
        parts = self.path.strip("/").split("/")
        if (status := self.server.refusing.get(parts[-1])) is not None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif parts[0] == "simple" and len(parts) == 2:
            found = sorted(self.server.folder.glob(f"{parts[1].replace('-', '_')}-*.whl"))
            page = "".join(map(self._link, found)).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)
        else:
            super().do_GET()

    def _link(self, file: Path) -> str:
        assert isinstance(self.server, Index)
        digest, why = hashlib.sha256(file.read_bytes()).hexdigest(), self.server.withdrawn.get(file.name)
        withdrawn = f' data-yanked="{why}"' if why else ""
        return f'<a href="/{file.name}#sha256={digest}"{withdrawn}>{file.name}</a>\n'

    def handle(self) -> None:
        with suppress(ConnectionError):  # who asked was killed, as some tests want
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving(folder: Path) -> Generator[Index]:
    with Index(folder) as index:
        thread = threading.Thread(target=index.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield index
        finally:
            index.open.set()
            index.shutdown()
            thread.join()


@contextmanager
def alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Index]:
    """One from which uv installs whatever this machine's own index is; it asks once."""
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with serving(folder) as index:
        yield index
