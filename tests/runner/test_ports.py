"""A service that others reach at a port, and files that hold secrets."""

import socket
from pathlib import Path

from tests.runner.conftest import World, entry

LISTENS = """python3 -c "
import pathlib, socket, sys
host, _, port = sys.argv[1].rpartition(':')
server = socket.create_server((host, int(port)))
connection, _ = server.accept()
secret = pathlib.Path(sys.argv[2])
modes = [path.stat().st_mode & 0o777 for path in (secret, secret.parent)]
connection.sendall('{} {:o} {:o}'.format(secret.read_text(), *modes).encode())
connection.close()
server.accept()
" {{port:http}} {{secret:word}}"""


def test_a_service_listens_where_it_says_and_finds_its_secret_in_a_file_of_its_own(world: World):
    token = world.runner()
    files = {"word": "let me in"}
    world.go(token, "e1-r1-1", LISTENS, mode="service", ports=["http"], secret_files=files)
    run = world.control.phase("e1-r1-1", "running")
    host, _, port = run["sockets"]["http"].rpartition(":")
    assert (host, int(port)) == (run["address"], run["ports"][-1])
    assert said(host, int(port), world) == "let me in 600 700"
    kept = list(world.folder.rglob("secrets/word"))
    assert len(kept) == 1
    world.control.want(token, {"e1-r1-1": None})
    world.control.wait(lambda: world.control.run("e1-r1-1") == {}, words="it is forgotten")
    world.control.wait(lambda: not kept[0].exists(), words="its secret is gone with it")
    assert "let me in" not in "".join(content.decode() for content in world.control.logs.values())


def said(host: str, port: int, world: World) -> str:
    """What it says to the first that comes; it listens a moment after it is said to run."""

    def ask() -> str:
        try:
            with socket.create_connection((host, port), timeout=10) as connection:
                return connection.recv(100).decode()
        except ConnectionRefusedError:
            return ""

    return world.control.wait(ask, words="it listens")


def test_each_port_is_its_own_and_held_until_the_service_starts(world: World):
    token = world.runner()
    names = ["http", "metrics"]
    command = "echo {{port:http}} {{port:metrics}} && sleep 30"
    world.control.want(token, {"e1-r1-1": entry(command, phase="prepare", mode="service", ports=names)})
    run = world.control.phase("e1-r1-1", "ready")
    places = [run["sockets"][name] for name in names]
    assert len(set(places)) == 2
    for place in places:
        with socket.socket() as other:
            try:
                other.bind(("", int(place.rpartition(":")[2])))
            except OSError:
                continue
            raise AssertionError(f"{place} was free to be taken")
    world.control.want(token, {"e1-r1-1": {"phase": "go"}})
    world.control.wait(lambda: world.control.log("e1-r1-1"), words="it has started")
    assert world.control.log("e1-r1-1").split() == places


def test_a_port_that_was_taken_in_between_is_nobodys_fault(world: World):
    token = world.runner()
    complains = "echo Cannot listen on {{port:http}}: [Errno 98] Address already in use; exit 1"
    world.go(token, "e1-r1-1", complains, mode="service", ports=["http"])
    assert world.control.ended("e1-r1-1")["cause"] == "port"


def test_names_that_are_no_names_end_the_run_in_words(world: World):
    token = world.runner()
    world.control.want(
        token,
        {
            "e1-r1-1": entry("true", ports=["../x"]),
            "e1-r1-2": entry("true", secret_files={"../../x": "y"}),
            "e1-r1-3": entry("echo {{port:http}}", ports=["other"]),
        },
    )
    words = [world.control.ended(f"e1-r1-{number}")["words"] for number in (1, 2, 3)]
    assert ["ports" in words[0], "secret_files" in words[1], "There: other" in words[2]] == [True] * 3, words
    assert not list(Path(world.folder).rglob("x"))
