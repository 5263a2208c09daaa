"""A compute instance whose machine a Ray gives, on a host with a network of its own: reached by TLS alone."""

import hashlib
import json
import socket
import sqlite3
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.contracts.ray_cluster import RayHosts
from tests.e2e.installation import Installation, carriers, command_line, environment_of, until
from tests.hosts import Host
from tests.instance.running import ready_made

from ultramarine.sdk.connection import of_home

from .conftest import Install

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
BASE = "/instances/default/far/"
SIZES = {"desk": {"cpus": 1.5, "memory_gib": 1.0}, "table": {"cpus": 1.0, "memory_gib": 1.5}}
APPLICATION = """
import os
import tornado.ioloop, tornado.web

class Page(tornado.web.RequestHandler):
    def get(self):
        self.write({"path": self.request.path, "headers": dict(self.request.headers)})

tornado.web.Application([(".*", Page)]).listen(int(os.environ["PORT"]), "127.0.0.1")
tornado.ioloop.IOLoop.current().start()
"""
EXECUTE = Path(__file__).parents[2] / "instance" / "execute.py"


@dataclass(frozen=True, kw_only=True)
class Site:
    it: Installation
    ray: RayHosts

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.it.port + 2}"

    def client(self) -> httpx.Client:
        """As a Jupyter client of its owner's enters it."""
        headers = {"Authorization": f"token {of_home(self.it.home).token}"}
        return httpx.Client(base_url=self.origin + BASE, headers=headers, timeout=60, trust_env=False)

    def read(self, name: str) -> str | None:
        """A file of its home; None while it does not answer."""
        with self.client() as client:
            answer = client.get(f"api/contents/{name}")
        return str(answer.json()["content"]) if answer.status_code == 200 else None

    def write(self, name: str, content: str) -> None:
        with self.client() as client:
            body = {"type": "file", "format": "text", "content": content}
            answer = client.put(f"api/contents/{name}", json=body)
        assert answer.status_code in (200, 201), answer.text

    def row(self) -> dict[str, Any]:
        """As the gateway is told of it."""
        return self.table()["instances"]["default/far"]

    def run(self) -> str | None:
        """As the gateway is told; None: it is not up."""
        there = self.table()["instances"].get("default/far")
        return None if there is None else str(there["tls"]["name"])

    def keeps(self, name: str, content: str) -> bool:
        """Whether its home was stored with this file in it."""
        with sqlite3.connect(self.it.home / "ultramarine.db") as database:
            [[snapshot]] = database.execute("SELECT checkpoint FROM runs WHERE key = ?", [self.run()])
        found = list((self.it.home / "files").rglob(str(snapshot)))
        files: list[dict[str, Any]] = json.loads(found[0].read_bytes())["files"] if found else []
        return (name, hashlib.sha256(content.encode()).hexdigest()) in {(one["path"], one["sha256"]) for one in files}

    def table(self) -> dict[str, Any]:
        return json.loads((self.it.home / "gateway" / "routes.json").read_text())

    def host(self) -> Host:
        pids = set(carriers(f"ULTRAMARINE_RUN_KEY={self.row()['tls']['name']}"))
        [found] = [host for host in self.ray.network.hosts if pids & set(host.pids())]
        return found


@pytest.fixture(scope="module")
def site(on_ray: Install, ray_hosts: RayHosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    settings = {"LEASE_S": "8", "LEASE_MARGIN_S": "2", "SILENT_AFTER_S": "4", "CHECKPOINT_EVERY_S": "1"}
    settings["SIZES"] = json.dumps(SIZES)
    folder = tmp_path_factory.mktemp("scripts")
    (folder / "set-up.sh").write_text(f"echo made >> made\ncat > app.py <<'END'\n{APPLICATION}END\n")
    with on_ray(**{f"ULTRAMARINE_{name}": value for name, value in settings.items()}) as it:
        it.up()
        computes = it.workspace.computes
        body = {"name": "far", "type": "computeinstance", "size": "desk", "provider": "ray"}
        app = {"name": "app", "command": "exec python app.py", "port": 18501}
        scripts = {"creation_script": {"path": "set-up.sh"}}
        computes.create_or_update({**body, "custom_applications": [app], "setup_scripts": scripts}, folder=folder)
        made = computes.wait_up("far", timeout_s=300)
        assert made["state"] == "Running", f"{made}\n{it.told()}"
        yield Site(it=it, ray=ray_hosts)
        it.workspace.computes.delete("far")
        it.workspace.computes.wait_gone("far", timeout_s=120)


def test_a_cell_runs_on_its_host_by_a_jupyter_client_through_the_gateway(site: Site):
    host = site.host()
    assert site.row()["address"].startswith(f"{host.address}:")
    with site.client() as client:
        assert "JupyterLab" in client.get("lab").text
        id = client.post("api/kernels", json={"name": "python3"}).json()["id"]
    (said,) = executed(site, id, "import subprocess; print(subprocess.getoutput('ip -4 -o addr show'))")
    assert f" {host.address}/" in "".join(said["streams"]), said


def executed(site: Site, kernel: str, code: str) -> list[dict[str, Any]]:
    """What a Jupyter client was shown."""
    made, _ = ready_made("jupyter")
    place, token = site.origin.removeprefix("http://"), of_home(site.it.home).token
    command = [str(made / "bin" / "python"), str(EXECUTE), place, BASE, token, kernel, code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_is_beside_it_is_reached_by_the_same_sign_in(site: Site):
    page = f"{BASE}proxy/app/page"
    with httpx.Client(base_url=site.origin, follow_redirects=True, timeout=60, trust_env=False) as browser:
        assert browser.get(page).status_code == 401
        assert browser.get(site.it.workspace.computes.connect("far")).status_code == 200
        until(lambda: browser.get(page).status_code == 200, "it answers", seconds=60)
        seen = browser.get(page).json()
    assert seen["path"] == page
    assert "Authorization" not in seen["headers"]
    assert "X-Ultramarine-Secret" not in seen["headers"]


def test_nobody_but_the_gateway_is_let_in(site: Site):
    row, table = site.row(), site.table()
    address, _, port = row["address"].rpartition(":")
    with socket.create_connection((address, int(port)), timeout=10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        try:
            assert not plain.recv(100).startswith(b"HTTP")
        except ConnectionError:
            pass
    context = ssl.create_default_context(cadata=table["ca"])
    for secret, status in (("", 401), ("0" * 64, 401), (row["secret"], 200)):
        with socket.create_connection((address, int(port)), timeout=10) as plain:
            tls = context.wrap_socket(plain, server_hostname=row["tls"]["name"])
            tls.sendall(f"CONNECT jupyterlab:0 HTTP/1.1\r\nx-ultramarine-secret: {secret}\r\n\r\n".encode())
            assert tls.recv(100).startswith(f"HTTP/1.1 {status} ".encode())
    with pytest.raises(OSError):  # an application listens there for its own machine alone
        socket.create_connection((address, 18501), timeout=5)
    pids = carriers(f"ULTRAMARINE_RUN_KEY={row['tls']['name']}")
    told = [command_line(pid) + str(environment_of(pid)) for pid in pids]
    assert told
    assert not [words for words in told if row["secret"] in words], "it is in no argv and no variable"


def test_its_home_is_there_again_after_a_stop_and_a_start_and_on_another_size(site: Site):
    computes = site.it.workspace.computes
    site.write("mine.txt", "kept")
    computes.stop("far")
    computes.wait_stopped("far")
    with site.client() as client:
        assert client.get("api/status").status_code == 503
    computes.resize("far", "table")
    computes.start("far")
    computes.wait_up("far", timeout_s=240)
    until(lambda: site.read("mine.txt") == "kept", "it answers again, with its home", seconds=60)
    assert site.read("made") == "made\n", "the creation script did not run again"
    assert site.read("app.py") is not None


@pytest.mark.parametrize("fate", ["cut off", "dead"])
def test_when_its_host_is_gone_it_comes_back_on_another_with_what_was_kept(site: Site, fate: str):
    host = site.host()
    site.write("mine.txt", fate)
    run = site.run()
    until(lambda: site.keeps("mine.txt", fate), "it is kept", seconds=60)
    try:
        begun = time.monotonic()
        host.cut() if fate == "cut off" else host.kill()
        until(lambda: site.run() not in (run, None), "it is another run", seconds=240)
        until(lambda: site.read("mine.txt") == fate, "it answers again, with its home", seconds=120)
        print(f"{fate}: back after {time.monotonic() - begun:.1f} s")
        assert site.host().name != host.name
    finally:
        host.mend()
        site.ray.leave(host)
        site.ray.join(host)
