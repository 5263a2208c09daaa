"""A small real part: answers `/healthz` on a Unix socket or a port, and misbehaves when a file tells it to.

`part.py ADDRESS FOLDER NAME`: FOLDER/NAME.fail = ends at once with 3; .mute = accepts and never answers; .stubborn =
does not end on SIGTERM. It notes its end in FOLDER/ended, one line a part.
"""

import signal
import socket
import sys
import time
from pathlib import Path

address, folder, name = sys.argv[1], Path(sys.argv[2]), sys.argv[3]


def end(*_: object) -> None:
    with open(folder / "ended", "a") as stream:
        stream.write(name + "\n")
    sys.exit(0)


if (folder / f"{name}.fail").exists():
    print(f"{name} cannot work: its file says so")
    sys.exit(3)
signal.signal(signal.SIGTERM, signal.SIG_IGN if (folder / f"{name}.stubborn").exists() else end)
if address.isdigit():
    listener = socket.create_server(("127.0.0.1", int(address)))
else:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
print(f"{name} listens")
while True:
    connection, _peer = listener.accept()
    with connection:
        if (folder / f"{name}.mute").exists():
            time.sleep(2)
            continue
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
