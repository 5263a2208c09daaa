"""A Jupyter client: executes code in a kernel over the server's websocket. Runs in the environment `jupyter`.

`python execute.py PLACE BASE SECRET KERNEL_ID CODE …`: one line of JSON for each piece of code, with what it showed.
PLACE: the path of the server's socket, or HOST:PORT of the gateway.
"""

import json
import socket
import sys
import uuid

import websocket


def main(place, base, secret, kernel, *pieces):
    host = "instance" if place.startswith("/") else place
    channel = websocket.create_connection(
        f"ws://{host}{base}api/kernels/{kernel}/channels?session_id={uuid.uuid4().hex}",
        socket=_connected(place),
        header=[f"Authorization: token {secret}"],
        suppress_origin=True,
    )
    session = uuid.uuid4().hex
    for code in pieces:
        request = uuid.uuid4().hex
        header = {
            "msg_id": request,
            "session": session,
            "username": "",
            "msg_type": "execute_request",
            "version": "5.3",
        }
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False, "stop_on_error": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        channel.send(json.dumps(message))
        print(json.dumps(_shown(channel, request)), flush=True)
    channel.close()


def _connected(place):
    if not place.startswith("/"):
        host, _, port = place.partition(":")
        return socket.create_connection((host, int(port)), 100)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(100)
    connection.connect(place)
    return connection


def _shown(channel, request):
    """What came until it was answered and the kernel was idle again."""
    shown = {"streams": [], "result": None, "error": None, "status": None}
    is_idle = False
    while not (is_idle and shown["status"]):
        message = json.loads(channel.recv())
        if message["parent_header"].get("msg_id") != request:
            continue
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "stream":
            shown["streams"].append(content["text"])
        elif kind == "execute_result":
            shown["result"] = content["data"]["text/plain"]
        elif kind == "error":
            shown["error"] = content["evalue"]
        elif kind == "execute_reply":
            shown["status"] = content["status"]
        elif kind == "status":
            is_idle = content["execution_state"] == "idle"
    return shown


if __name__ == "__main__":
    main(*sys.argv[1:])
