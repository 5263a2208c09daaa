"""A real instance, as the runner starts it: in the curated environment `jupyter`, from its zip, on a Unix socket."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tests.instance.control import TOKEN, WORKSPACE

from ultramarine import curated
from ultramarine.locks.site import site_options
from ultramarine.services.client import client_zip
from ultramarine_runner.environments import Recipe, ensure

SHARED = Path(os.environ.get("ULTRAMARINE_TEST_CACHE") or Path.home() / ".cache" / "ultramarine-tests")
UV = Path(sys.executable).with_name("uv")
BASE, SECRET = "/instances/default/mine/", "the-secret-of-this-instance"
HERE = f"3.{sys.version_info.minor}"


def ready_made(name: str) -> tuple[Path, Recipe]:
    """A curated environment, built once for all tests; and what it is made from."""
    lock = curated.load()[name].lock(python=HERE, platform=f"linux-{os.uname().machine}")
    recipe = Recipe(digest=lock.digest, lock=lock.text.encode(), python=lock.python)
    return ensure(SHARED, recipe, options=site_options().to_json(), uv=str(UV), progress=lambda _: None), recipe


@dataclass
class Instance:
    """One that runs, or has run."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    python: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def socket(self) -> Path:
        return self.folder / "http.sock"

    @property
    def log(self) -> str:
        return (self.folder / "log.txt").read_text("utf-8", "replace")

    def client(self, **headers: str) -> httpx.Client:
        """Speaks to it as the gateway does, with these headers more."""
        return self.stranger(Authorization=f"token {SECRET}", **headers)

    def stranger(self, **headers: str) -> httpx.Client:
        transport = httpx.HTTPTransport(uds=str(self.socket))
        return httpx.Client(
            transport=transport, base_url=f"http://instance{BASE}", headers=dict(headers), timeout=60, trust_env=False
        )

    def until_it_answers(self) -> "Instance":
        def answers() -> bool:
            assert self.process.poll() is None, self.log
            try:
                with self.client() as client:
                    return client.get("api/status").status_code == 200
            except httpx.TransportError:
                return False

        until(answers, self)
        return self

    def execute(self, kernel: str, *pieces: str) -> list[Any]:
        """By a Jupyter client over the websocket: for each piece of code what it showed."""
        program = Path(__file__).with_name("execute.py")
        command = [str(self.python), str(program), str(self.socket), BASE, SECRET, kernel, *pieces]
        done = subprocess.run(command, capture_output=True, text=True, timeout=110)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{self.log}"
        return [json.loads(line) for line in done.stdout.splitlines()]

    @contextmanager
    def typed(self, line: str) -> Generator[None]:
        """Into a terminal that is there while in it, by a browser's way."""
        program = Path(__file__).with_name("terminal.py")
        with self.client() as client:
            name = client.post("api/terminals").json()["name"]
            command = [str(self.python), str(program), str(self.socket), BASE, SECRET, name, line]
            done = subprocess.run(command, capture_output=True, text=True, timeout=110)
            assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{self.log}"
            yield
            assert client.delete(f"api/terminals/{name}").status_code == 204

    def begin(self, kernel_name: str | None = None) -> str:
        """A kernel; its id."""
        with self.client() as client:
            answer = client.post("api/kernels", json={} if kernel_name is None else {"name": kernel_name})
            assert answer.status_code == 201, answer.text
            return str(answer.json()["id"])

    def kernels(self) -> list[int]:
        """Its processes that are kernels."""
        return [pid for pid in _pids() if f"HOME={self.home}" in _variables(pid) and _is_kernel(pid)]

    def stop(self) -> int:
        """As the runner stops it; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def until(true: Callable[[], object], instance: Instance, *, within_s: float = 110) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, f"it did not come about in time\n{instance.log}"
        time.sleep(0.02)


def start(folder: Path, program: Path, python: Path, *, control: str, settings: Mapping[str, Any]) -> Instance:
    """Begin one with a home that may be there already."""
    folder.mkdir(exist_ok=True)
    (folder / "secret").write_text(SECRET)
    (folder / "client.zip").write_bytes(client_zip())
    named = {"workspace": WORKSPACE, "name": "mine", "owner": "ana"}
    (folder / "settings.json").write_text(json.dumps(named | dict(settings)))
    variables = {
        "PATH": f"{python.parent}{os.pathsep}{UV.parent}{os.pathsep}/usr/bin:/bin",
        "HOME": str(folder / "home"),
        "LANG": "C.UTF-8",
        "VIRTUAL_ENV": str(python.parent.parent),
        "ULTRAMARINE_URL": control,
        "ULTRAMARINE_TOKEN": TOKEN,
        "ULTRAMARINE_WORKSPACE": WORKSPACE,
    }
    arguments = ["--socket", f"unix:{folder / 'http.sock'}", "--home", str(folder / "home"), "--base", BASE]
    files = ["--secret", str(folder / "secret"), "--settings", str(folder / "settings.json")]
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            [str(python), str(program), *arguments, *files],
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return Instance(process, folder, python)


def _pids() -> list[int]:
    return [int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit()]


def _variables(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/environ").read_text("utf-8", "replace").split("\0")
    except OSError:
        return []


def _is_kernel(pid: int) -> bool:
    try:
        return "ipykernel" in Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace")
    except OSError:
        return False
