"""Ask a part whether it is well: one HTTP question, of which only the status line matters."""

import socket
from pathlib import Path

TIMEOUT_S = 0.5


def answers(address: "Path | tuple[str, int]", path: str) -> bool:
    """True when `GET path` is answered with 200 within half a second."""
    family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
    question = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    try:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.connect(str(address) if isinstance(address, Path) else address)
            connection.sendall(question.encode("ascii"))
            first = connection.recv(64)
    except OSError:
        return False
    words = first.split(b" ", 2)
    return len(words) > 1 and words[0].startswith(b"HTTP/") and words[1] == b"200"
