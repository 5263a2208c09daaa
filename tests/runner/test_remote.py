"""Starting programs on another node: for the run's own first node, and for nobody else."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ultramarine_runner import distribution, ports, remote


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    held = ports.Held(2)
    held.close()
    places = ",".join(f"127.0.0.1:{port}" for port in held.ports)
    return {
        distribution.PEERS: places,
        distribution.SECRET: "s" * 64,
        distribution.FAILED: str(tmp_path / "failed"),
        "ULTRAMARINE_NODE_RANK": "1",
    }


@pytest.fixture
def node(environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(distribution.entry("remote"), env={**os.environ, **environ}) as served:
        yield served
        served.kill()


def test_a_command_is_run_there_to_its_end(node: subprocess.Popen[bytes], environ: dict[str, str], tmp_path: Path):
    assert remote.Peer(1, environ=environ).start(f"echo $ULTRAMARINE_NODE_RANK >{tmp_path}/there; exit 3") == 3
    assert (tmp_path / "there").read_text() == "1\n"


def test_a_node_ends_well_when_it_is_told_that_all_is_over(node: subprocess.Popen[bytes], environ: dict[str, str]):
    first = remote.Peer(1, environ=environ)
    first.hold()
    first.over()
    assert node.wait(10) == 0


def test_a_node_whose_first_node_is_gone_ends_badly(node: subprocess.Popen[bytes], environ: dict[str, str]):
    holds = "import os, sys; sys.path.insert(0, sys.argv[1])\nfrom ultramarine_runner.remote import Peer\n"
    holds += "Peer(1, environ=os.environ).hold()"
    source = str(Path(remote.__file__).parents[1])
    subprocess.run([sys.executable, "-c", holds, source], env={**os.environ, **environ}, check=True)
    assert node.wait(20) == 1


def test_another_secret_starts_nothing(node: subprocess.Popen[bytes], environ: dict[str, str], tmp_path: Path):
    stranger = remote.Peer(1, environ={**environ, distribution.SECRET: "t" * 64})
    assert stranger.start(f"touch {tmp_path}/there") != 0
    with pytest.raises(OSError, match="does not take orders"):
        remote.Peer(1, environ={**environ, distribution.SECRET: ""}).hold()
    assert not (tmp_path / "there").exists()
    assert remote.Peer(1, environ=environ).start("true") == 0


def test_what_was_heard_once_cannot_be_sent_again(
    node: subprocess.Popen[bytes], environ: dict[str, str], tmp_path: Path
):
    first = remote.Peer(1, environ=environ)
    place = environ[distribution.PEERS].split(",")[1].split(":")
    said = json.dumps({"do": "start", "command": f"echo >>{tmp_path}/there"})
    line = {"said": said, "proof": remote.proof(environ[distribution.SECRET], first.nonce, said)}
    with socket.create_connection((place[0], int(place[1]))) as again, again.makefile("rwb") as stream:
        assert json.loads(stream.readline())["nonce"] != first.nonce
        stream.write(json.dumps(line).encode() + b"\n")
        stream.flush()
        assert stream.readline() == b""
    assert not (tmp_path / "there").exists()
