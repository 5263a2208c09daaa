"""A compute instance of a real installation: JupyterLab through its gateway, and a home that outlives what it runs."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ultramarine.sdk.connection import of_home

from .installation import SIZES, Installation, installed, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
BODY = {"name": "mine", "type": "computeinstance", "size": "desk"}
DESK = {"cpus": 0.5, "memory_gib": 1.0}


@pytest.fixture
def it(cache: Path) -> Iterator[Installation]:
    sizes = json.dumps({**SIZES, "desk": DESK})
    with installed(cache, ULTRAMARINE_SIZES=sizes) as made:
        made.up()
        yield made


def entered(it: Installation) -> httpx.Client:
    """As a Jupyter client of its owner's enters it."""
    base = f"http://127.0.0.1:{it.port + 2}/instances/default/mine/"
    headers = {"Authorization": f"token {of_home(it.home).token}"}
    return httpx.Client(base_url=base, headers=headers, timeout=60, trust_env=False)


def processes(it: Installation, word: str) -> list[int]:
    """Those of its instances that have this word on their command line."""
    found: list[int] = []
    for one in Path("/proc").iterdir():
        try:
            line = one.joinpath("cmdline").read_text("utf-8", "replace") if one.name.isdigit() else ""
            of = one.joinpath("environ").read_text("utf-8", "replace") if word in line.split("\0") else ""
        except OSError:
            continue
        if f"HOME={it.home / 'instances'}/" in of:
            found.append(int(one.name))
    return found


def test_what_is_in_its_home_is_there_after_a_crash_a_stop_and_a_start_and_gone_with_it(it: Installation):
    computes = it.workspace.computes
    computes.create_or_update(BODY)
    computes.wait_up("mine")
    with entered(it) as client:
        assert "JupyterLab" in client.get("lab").text
        kept = {"type": "file", "format": "text", "content": "kept"}
        assert client.put("api/contents/mine.txt", json=kept).status_code == 201
        names = client.get("api/kernelspecs").json()["kernelspecs"]
        assert {"python3", "minimal--1"} <= set(names)
        assert client.post("api/kernels", json={"name": "minimal--1"}).status_code == 201

    (killed,) = processes(it, "--socket")
    begun = processes(it, "-f")
    assert begun, "there is a kernel"
    os.kill(killed, signal.SIGKILL)
    until(lambda: not {killed, *begun} & {*processes(it, "--socket"), *processes(it, "-f")}, "all of it has ended")
    until(lambda: read(it) == "kept", "it comes back by itself, with its home")

    computes.stop("mine")
    computes.wait_stopped("mine")
    with entered(it) as client:
        assert client.get("api/status").status_code == 503
    computes.start("mine")
    computes.wait_up("mine")
    until(lambda: read(it) == "kept", "it answers again, with its home")

    computes.delete("mine")
    until(lambda: not list((it.home / "instances").glob("*")), "its home is gone")


def test_a_creation_script_that_fails_is_told_of_with_its_log_and_runs_again_once_it_is_corrected(
    it: Installation, tmp_path: Path
):
    computes, script = it.workspace.computes, tmp_path / "set-up.sh"
    scripts = {
        "creation_script": {"path": script.name, "command": "'one two'"},
        "startup_script": {"command": "echo again >> starts"},
    }
    script.write_text("echo looking for $1; exit 3\n")
    computes.create_or_update({**BODY, "setup_scripts": scripts}, folder=tmp_path)
    failed = computes.wait_up("mine", timeout_s=240)
    assert failed["state"] == "SetupFailed"
    said = computes.explain("mine")["instance"]["reason"]
    assert "The creation script ended with exit code 3." in said
    assert said.endswith("looking for one two")

    script.write_text("echo made for $1 > mine.txt\n")
    computes.update("mine", {"setup_scripts": scripts}, folder=tmp_path)
    computes.start("mine")
    assert computes.wait_up("mine")["state"] == "Running"
    assert until(lambda: read(it), "it answers") == "made for one two\n"
    assert file(it, "starts") == "again\n"


APPLICATION = """
import os
import tornado.ioloop, tornado.web, tornado.websocket

class Page(tornado.web.RequestHandler):
    def get(self):
        self.write({"path": self.request.path, "headers": dict(self.request.headers)})

class Echo(tornado.websocket.WebSocketHandler):
    async def on_message(self, message):
        await self.write_message("echo " + message)

base = os.environ["BASE_PATH"]
handlers = [(base + "page", Page), (base + "ws", Echo)]
tornado.web.Application(handlers).listen(int(os.environ["PORT"]), "127.0.0.1")
tornado.ioloop.IOLoop.current().start()
"""


def test_an_application_is_reached_by_who_has_come_in_by_the_link_and_keeps_its_instance_up(
    it: Installation, tmp_path: Path
):
    computes, page = it.workspace.computes, "/instances/default/mine/proxy/app/page"
    (tmp_path / "set-up.sh").write_text(f"cat > app.py <<'END'\n{APPLICATION}END\n")
    app = {"name": "app", "command": "exec python app.py", "port": it.port + 3}
    scripts = {"creation_script": {"path": "set-up.sh"}}
    computes.create_or_update({**BODY, "setup_scripts": scripts, "custom_applications": [app]}, folder=tmp_path)
    assert computes.wait_up("mine")["state"] == "Running"

    origin = f"http://127.0.0.1:{it.port + 2}"
    with httpx.Client(base_url=origin, follow_redirects=True, timeout=60, trust_env=False) as browser:
        assert browser.get(page).status_code == 401
        assert browser.get(computes.connect("mine")).status_code == 200
        until(lambda: browser.get(page).status_code == 200, "it answers")
        answer = browser.get(page)
        assert answer.json()["path"] == page
        said = json.dumps(answer.json()["headers"])
        assert not [word for word in ("ultramarine", "Authorization", "token ") if word in said]
        assert browser.get(page.replace("app", "other")).status_code == 404
        cookie = "; ".join(f"{each.name}={each.value}" for each in browser.cookies.jar)
    with socket.create_connection(("127.0.0.1", it.port + 2), timeout=60) as client, client.makefile("rb") as incoming:
        client.sendall(upgrade(page.replace("page", "ws"), origin=origin, cookie=cookie))
        assert incoming.readline().startswith(b"HTTP/1.1 101 ")
        while incoming.readline() != b"\r\n":
            pass
        client.sendall(b"\x81\x82\0\0\0\0hi")
        assert incoming.read(9) == b"\x81\x07echo hi"
        words = "the application app has 1 connection open"
        until(lambda: words in computes.explain("mine")["instance"]["why"], "it is said what keeps it up")
    until(lambda: words not in computes.explain("mine")["instance"]["why"], "that it is over is said too")


def upgrade(path: str, *, origin: str, cookie: str) -> bytes:
    """What a page of `origin` sends to open a websocket."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {origin.removeprefix('http://')}", f"Origin: {origin}"]
    lines += [f"Cookie: {cookie}", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    return "\r\n".join([*lines, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", ""]).encode()


def read(it: Installation) -> str | None:
    return file(it, "mine.txt")


def file(it: Installation, name: str) -> str | None:
    """What is in a file of its home; None while that is not known."""
    with entered(it) as client:
        answer = client.get(f"api/contents/{name}", params={"type": "file", "format": "text"})
        return answer.json()["content"] if answer.status_code == 200 else None
