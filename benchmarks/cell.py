"""A cell by Jupyter's own client of remote kernels, as `jupyter lab --gateway-url` uses it.

`python cell.py URL TOKEN KERNEL CODE` in the curated environment `jupyter`: it asks until there is a Jupyter server at
URL, has the code executed in a new kernel, and prints a line of JSON: what it showed, and when (seconds since 1970).
That client signs in over HTTP and not over websockets, so their header is put in here.
"""

import asyncio
import json
import sys
import time
import urllib.error
import urllib.request
from functools import partial

import websocket
from jupyter_server.gateway.gateway_client import GatewayClient
from jupyter_server.gateway.managers import GatewayKernelManager

WITHIN_S, EACH_S = 120.0, 0.02


def main(url, token, kernel, code):
    until_it_answers(url, token)
    settings = GatewayClient.instance()
    settings.url, settings.auth_token, settings.ws_url = url, token, url.replace("http", "ws", 1)
    header = [f"Authorization: token {token}"]
    websocket.create_connection = partial(websocket.create_connection, header=header)
    print(json.dumps(asyncio.run(executed(kernel, code))))


def until_it_answers(url, token):
    asked = urllib.request.Request(f"{url}/api/status", headers={"Authorization": f"token {token}"})
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            with urllib.request.urlopen(asked, timeout=5):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                sys.exit(f"{url} does not answer: {error}")
        time.sleep(EACH_S)


async def executed(kernel, code):
    manager = GatewayKernelManager()
    await manager.start_kernel(kernel_name=kernel)
    client = manager.client()
    await client.start_channels()
    request, text = client.execute(code), ""
    while True:
        message = await client.get_iopub_msg(timeout=WITHIN_S)
        if message["parent_header"].get("msg_id") != request:
            continue
        if message["content"].get("execution_state") == "idle":
            break
        text += message["content"].get("text", "")
    ended = time.time()
    client.stop_channels()
    await manager.shutdown_kernel(now=True)
    return {"text": text, "at": ended}


if __name__ == "__main__":
    main(*sys.argv[1:])
