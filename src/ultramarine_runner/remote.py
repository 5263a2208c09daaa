"""Start a program on another node of the same run: what an `ssh` would do, with no door open to anybody else.

`main` is the only process that the runner starts on such a node, so all that it starts is killed, limited and counted
with it. The first node holds a connection to it for as long as it leads. Every line that asks for something carries a
proof (HMAC of the run's secret over a nonce of this connection), so that none can be made up or sent again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import queue
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from io import BufferedRWPair
from pathlib import Path
from typing import Any

from .distribution import FAILED, PEERS, SECRET

START, HOLD, OVER = "start", "hold", "over"
_LINE_MAX = 1 << 20
_ASKING_S = 10.0  #: how long a stranger may take to say what it wants
_CONNECT_S = 120.0  #: nodes start at different times
_LOST_S = 5.0  #: how long the first node's own end may take to be told, before this one's is
_REFUSED = 125


def main() -> int:
    """Serve the first node until it says that it is over (0), or is gone (1)."""
    place = _places(os.environ)[int(os.environ["ULTRAMARINE_NODE_RANK"])]
    try:
        family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        listener = socket.create_server(place, family=family)
    except OSError as error:
        print(f"ultramarine: {place[0]}:{place[1]}: {error.strerror}", file=sys.stderr, flush=True)
        return 1
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()
    threading.Thread(target=_accept, args=(listener, os.environ[SECRET], ended), daemon=True).start()
    code = ended.get()
    sys.stderr.flush()
    os._exit(code)


def _accept(listener: socket.socket, secret: str, ended: queue.SimpleQueue[int]) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(connection, secret, ended), daemon=True).start()


def _serve(connection: socket.socket, secret: str, ended: queue.SimpleQueue[int]) -> None:
    nonce = secrets.token_hex(16)
    connection.settimeout(_ASKING_S)
    with connection, connection.makefile("rwb") as stream:
        try:
            _tell(stream, {"nonce": nonce})
            asked = _heard(stream, secret, nonce)
            connection.settimeout(None)
            if asked.get("do") == START:
                code = subprocess.call(["/bin/sh", "-c", str(asked["command"])])
                _tell(stream, {"code": failure(os.environ) or code})
            elif asked.get("do") == HOLD:
                _tell(stream, {"held": True})
                ended.put(_held(stream, secret, nonce))
        except (OSError, ValueError, KeyError):
            return  # a stranger, or one that did not wait: nothing was promised


def _held(stream: BufferedRWPair[Any, Any], secret: str, nonce: str) -> int:
    try:
        if _heard(stream, secret, nonce).get("do") == OVER:
            return 0
    except (OSError, ValueError):
        pass
    print("ultramarine: the first node of this job is gone.", file=sys.stderr, flush=True)
    time.sleep(_LOST_S)
    return 1


def _heard(stream: BufferedRWPair[Any, Any], secret: str, nonce: str) -> dict[str, Any]:
    """The next line, if it is proven; ValueError."""
    line: dict[str, Any] = json.loads(stream.readline(_LINE_MAX))
    said = str(line["said"])
    if not hmac.compare_digest(proof(secret, nonce, said), str(line["proof"])):
        raise ValueError("not of this run")
    asked: dict[str, Any] = json.loads(said)
    return asked


def _tell(stream: BufferedRWPair[Any, Any], message: Mapping[str, Any]) -> None:
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()


def proof(secret: str, nonce: str, said: str) -> str:
    """That who says this knows the secret, on the connection of this nonce; hex."""
    return hmac.new(secret.encode(), f"{nonce}\n{said}".encode(), hashlib.sha256).hexdigest()


def failure(environ: Mapping[str, str]) -> int:
    """The exit code of the first rank of this node that failed; 0 when none did (an empty file is being written)."""
    try:
        return int(Path(environ[FAILED]).read_text() or 0)
    except FileNotFoundError:
        return 0


# The first node's side


class Peer:
    """A connection to another node of the run. OSError when it cannot be had."""

    def __init__(self, node: int, *, environ: Mapping[str, str]) -> None:
        self._secret = environ[SECRET]
        self._stream = _connected(_places(environ)[node]).makefile("rwb")
        self.nonce = str(json.loads(self._stream.readline(_LINE_MAX))["nonce"])

    def start(self, command: str) -> int:
        """Run a shell command there, to its end; its exit code. What it writes stays there."""
        return int(self._ask({"do": START, "command": command}).get("code", _REFUSED))

    def hold(self) -> None:
        """Keep the node at hand: it ends with this connection."""
        if not self._ask({"do": HOLD}):
            raise OSError("the node does not take orders from this one")

    def over(self) -> None:
        """Let the node end well."""
        self._say({"do": OVER})

    def _ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        self._say(message)
        answer: dict[str, Any] = json.loads(self._stream.readline(_LINE_MAX) or b"{}")
        return answer

    def _say(self, message: Mapping[str, Any]) -> None:
        said = json.dumps(message)
        _tell(self._stream, {"said": said, "proof": proof(self._secret, self.nonce, said)})


def _connected(place: tuple[str, int]) -> socket.socket:
    deadline = time.monotonic() + _CONNECT_S
    while True:
        try:
            connection = socket.create_connection(place, timeout=_ASKING_S)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
            continue
        connection.settimeout(None)
        return connection


def _places(environ: Mapping[str, str]) -> list[tuple[str, int]]:
    parts = [place.rpartition(":") for place in environ[PEERS].split(",") if place]
    return [(address.strip("[]"), int(port)) for address, _, port in parts]
