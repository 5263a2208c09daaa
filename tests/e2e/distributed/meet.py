"""What TensorFlow does with TF_CONFIG: listen at one's own address, and reach everybody else's."""

import json
import os
import socket
import time

config = json.loads(os.environ["TF_CONFIG"])
me = f"{config['task']['type']} {config['task']['index']}"
host, _, port = config["cluster"][config["task"]["type"]][config["task"]["index"]].rpartition(":")
others = [place for places in config["cluster"].values() for place in places if place != f"{host}:{port}"]
with socket.create_server((host, int(port))) as listener:
    sent = []
    for place in others:
        there, _, at = place.rpartition(":")
        deadline = time.monotonic() + 30
        while True:
            try:
                sent.append(socket.create_connection((there, int(at)), timeout=5))
                break
            except OSError:
                assert time.monotonic() < deadline, place
                time.sleep(0.05)
        sent[-1].sendall(me.encode())
        sent[-1].shutdown(socket.SHUT_WR)
    met = sorted(listener.accept()[0].makefile().read() for _ in others)
print(f"{me} met {', '.join(met)}", flush=True)
