"""`python -I engine ADDRESS NAMESPACE SOCKET NODE PATIENCE_S`: a driver's four verbs over a Unix socket, JSON lines.

It runs in Ray's own environment. It ends when its standard input does: with who started it; and with `LATE` when Ray
has not taken it within its patience. Ray itself tries for ever, with a wrong token too, and who comes while a head
starts may never be told.
"""

import json
import os
import socketserver
import sys
import threading
import time
import traceback

from cluster import Cluster, Severed

EACH_S = 0.5
SILENT_S = 5.0  #: what was seen before a look that takes longer is no news any more
STUCK_S = 20.0  #: Ray's calls have no limit, and wait for ever for an answer that was lost: another engine asks anew
LATE = 75  #: the exit status: EX_TEMPFAIL of sysexits.h


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        asked = json.loads(self.rfile.readline())
        verb, cluster = asked.pop("verb"), self.server.cluster
        try:
            if verb == "observe":
                answer = self.server.observed()
            else:
                answer = {"allocate": cluster.allocate, "release": cluster.release, "forget": cluster.forget}[verb](
                    **asked
                )
            said = {"answer": answer}
        except Exception as error:
            traceback.print_exc()
            said = {"error": f"{type(error).__name__}: {error}"}
        self.wfile.write(json.dumps(said).encode() + b"\n")


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, path, cluster):
        self.cluster, self.problem = cluster, "It has not looked yet."
        self.looked_at = time.monotonic()
        super().__init__(path, Handler)

    def observed(self):
        if self.problem:
            raise RuntimeError(self.problem)
        if (quiet_s := self.quiet_s()) > SILENT_S:
            raise RuntimeError(f"Ray has not answered for {quiet_s:.0f} s.")
        return self.cluster.news

    def quiet_s(self):
        return time.monotonic() - self.looked_at

    def watch(self):
        pause = threading.Event()
        while True:
            try:
                self.cluster.look()
                self.problem = ""
            except Severed as error:
                leave(f"{error} Another engine joins anew.")
            except Exception as error:
                traceback.print_exc()
                self.problem = f"Ray does not answer: {error}"
            self.looked_at = time.monotonic()
            pause.wait(EACH_S)

    def leave_when_stuck(self):
        pause = threading.Event()
        while self.quiet_s() < STUCK_S:
            pause.wait(EACH_S)
        leave(f"Ray at {sys.argv[1]} has not answered for {STUCK_S:g} s: another engine asks it anew.")


def leave_with_starter():
    sys.stdin.buffer.read()
    os._exit(0)


def too_late(address, patience_s):
    leave(f"Ray at {address} did not take us within {patience_s:g} s: is the address right, the token?", LATE)


def leave(words, code=1):
    """Nothing is lost: all that is known of allocations is in the cluster."""
    sys.stderr.write(f"ray: {words}\n")
    sys.stderr.flush()
    os._exit(code)


def main():
    address, namespace, path, node, patience_s = sys.argv[1:]
    threading.Thread(target=leave_with_starter, daemon=True).start()
    late = threading.Timer(float(patience_s), too_late, (address, float(patience_s)))
    late.start()
    cluster = Cluster(address, namespace, node)
    late.cancel()
    if os.path.exists(path):
        os.unlink(path)
    os.umask(0o077)
    server = Server(path, cluster)
    for task in (server.watch, server.leave_when_stuck):
        threading.Thread(target=task, daemon=True).start()
    server.serve_forever()


main()
