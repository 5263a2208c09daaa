"""Types a line into a terminal over the server's websocket. Runs in the environment `jupyter`.

`python terminal.py SOCKET BASE SECRET NAME LINE`: ends when the shell has shown it.
"""

import json
import socket
import sys

import websocket


def main(place, base, secret, name, line):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(100)
    connection.connect(place)
    channel = websocket.create_connection(
        f"ws://instance{base}terminals/websocket/{name}",
        socket=connection,
        header=[f"Authorization: token {secret}"],
        suppress_origin=True,
    )
    shown = ""
    channel.send(json.dumps(["stdin", f"{line}\r"]))
    while line[-10:] not in shown:
        kind, *content = json.loads(channel.recv())
        shown += content[0] if kind == "stdout" else ""
    channel.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
