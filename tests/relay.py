"""What listens at one address and passes everything on to another."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress

Address = tuple[str, int]


@contextmanager
def relay(at: Address, to: Address) -> Generator[None]:
    with socket.create_server(at, backlog=128) as server:
        threading.Thread(target=_accept, args=(server, to), daemon=True).start()
        yield
        server.shutdown(socket.SHUT_RDWR)


def _accept(server: socket.socket, to: Address) -> None:
    with suppress(OSError):
        while True:
            near, _ = server.accept()
            try:
                far = socket.create_connection(to, timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    """Until either end closes; then neither stays open."""
    with suppress(OSError):
        while piece := one.recv(1 << 16):
            other.sendall(piece)
    for each in (one, other):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
