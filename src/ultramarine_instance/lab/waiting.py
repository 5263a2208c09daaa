"""Stands where a kernel is to be while its environment is built: says how far it is, and hands over.

It answers to the kernel's own addresses. A cell that is executed meanwhile shows the progress, and is executed once the
environment is there: its messages wait here, and then go through to the kernel, as all that follow do. When the
environment cannot be made, each cell is told why, in its output.
"""

import json
import os
import signal
import subprocess
import sys
import threading

import zmq
from jupyter_client.connect import write_connection_file
from jupyter_client.session import Session

from ultramarine_runner.environments import EnvironmentFailed

TURN_MS = 100
GRACE_S = 3.0
IDENTITY = b"waiting"  #: the same on shell and stdin: by it the kernel asks back
INTERRUPTED = "Interrupted while its environment was being made ready, which goes on. Run the cell again."
CHANNELS = ("shell", "control", "stdin")


class Canceled(Exception):
    """The kernel is not wanted any more."""


class Room:
    def __init__(self, connection_file, *, label, python, log):
        self.file, self.label, self.python, self.log = connection_file, label, python, log
        self.info = json.loads(connection_file.read_text())
        self.session = Session(key=self.info["key"].encode(), signature_scheme=self.info["signature_scheme"])
        self.context = zmq.Context()
        self.front = {name: self._socket(zmq.ROUTER, bind=self._address(name, self.info)) for name in CHANNELS}
        self.beat = self._socket(zmq.ROUTER, bind=self._address("hb", self.info))
        self.iopub = self._socket(zmq.XPUB, bind=self._address("iopub", self.info))
        self.held = []  # (channel, frames, header), in their order
        self.words, self.failed = "", None
        self.is_ready = self.is_leaving = self.is_interrupted = False

    def run(self, make, again):
        """`make` builds, and is told of progress; `again` starts the kernel, but for its connection file. The exit
        code."""
        signal.signal(signal.SIGTERM, self._leave)
        signal.signal(signal.SIGINT, self._interrupt)
        thread = threading.Thread(target=self._make, args=(make,))
        thread.start()
        try:
            while not self.is_leaving and not self.is_ready:
                self._turn()
        finally:
            self.is_leaving = self.is_leaving or not self.is_ready
            thread.join()
        code = 0 if self.is_leaving else self._hand_over(again)
        self.context.destroy(linger=500)
        return code

    # -- while it is built

    def _make(self, make):
        try:
            make(self._progress)
            self.is_ready = True
        except Canceled:
            pass
        except EnvironmentFailed as error:
            self._say(error.words)
            self.failed = error.words

    def _progress(self, words):
        if self.is_leaving:
            raise Canceled
        if words != self.words:
            self._say(words)
            self.words = words

    def _say(self, words):
        for stream in (sys.stderr, self.log):
            print(f"[{self.label}] {words}", file=stream, flush=True)

    def _turn(self):
        shown = self.words
        ready = self._poll(self.beat, self.iopub, *self.front.values())
        if self.beat in ready:
            self.beat.send_multipart(self.beat.recv_multipart())
        if self.iopub in ready:
            self.iopub.recv()  # who listens: nothing is done about it
        for channel, socket in self.front.items():
            if socket in ready:
                self._take(channel, socket.recv_multipart())
        if self.failed is not None or self.is_interrupted:
            self.is_interrupted = False
            for channel, frames, _ in self._let_go():
                self._refuse(channel, frames, self.failed or INTERRUPTED)
        elif shown != self.words:
            self._show(self.words)

    def _take(self, channel, frames):
        try:
            ident, message = self._read(frames)
        except ValueError:
            return  # not signed by who may speak to this kernel
        kind = message["header"]["msg_type"]
        if kind == "kernel_info_request":
            self._about(channel, ident, message)
        elif kind == "shutdown_request":
            self._send(self.front[channel], "shutdown_reply", {"status": "ok", **message["content"]}, message, ident)
            self.is_leaving = True
        else:
            self.held.append((channel, frames, message["header"]))
            if kind == "execute_request" and self.failed is None:
                self._send(self.iopub, "status", {"execution_state": "busy"}, message)
                self._show(self.words or "environment: looking")

    def _read(self, frames):
        ident, parts = self.session.feed_identities(frames)
        # Without its memory of what it has seen: what is held is read again.
        self.session.digest_history.clear()
        return ident, self.session.deserialize(parts)

    def _about(self, channel, ident, message):
        """Enough for a front end to go on."""
        language = {
            "name": "python",
            "version": self.python,
            "mimetype": "text/x-python",
            "file_extension": ".py",
            "pygments_lexer": "ipython3",
            "codemirror_mode": {"name": "ipython", "version": 3},
            "nbconvert_exporter": "python",
        }
        content = {
            "status": "ok",
            "protocol_version": "5.3",
            "implementation": "ultramarine",
            "implementation_version": "1",
            "language_info": language,
            "banner": f"{self.label} is being made.",
            "help_links": [],
        }
        self._send(self.iopub, "status", {"execution_state": "busy"}, message)
        self._send(self.front[channel], "kernel_info_reply", content, message, ident)
        self._send(self.iopub, "status", {"execution_state": "idle"}, message)

    def _show(self, words):
        """To the first cell that waits."""
        for _, _, header in self.held:
            if header["msg_type"] == "execute_request":
                parent = {"header": header}
                self._send(self.iopub, "clear_output", {"wait": True}, parent)
                text = {"name": "stderr", "text": f"{self.label} is being made ready. {words}\n"}
                self._send(self.iopub, "stream", text, parent)
                return

    def _refuse(self, channel, frames, words):
        ident, message = self._read(frames)
        kind = message["header"]["msg_type"]
        name = "EnvironmentFailed"
        error = {"ename": name, "evalue": words, "traceback": [f"{name}: {self.label}: {words}"]}
        if kind == "execute_request":
            self._send(self.iopub, "clear_output", {"wait": True}, message)
            self._send(self.iopub, "error", error, message)
        if kind.endswith("_request"):
            reply = {"status": "error", "execution_count": 0, **error}
            self._send(self.front[channel], kind.replace("_request", "_reply"), reply, message, ident)
        self._send(self.iopub, "status", {"execution_state": "idle"}, message)

    def _interrupt(self, *_):
        """The cells that wait are let go; the build goes on."""
        self.is_interrupted = True

    def _let_go(self):
        held, self.held = self.held, []
        return held

    def _leave(self, *_):
        self.is_leaving = True

    # -- when it is there

    def _hand_over(self, again):
        """Start the kernel at other addresses, and carry between its and ours until it ends."""
        inner = f"{self.file}.inner"
        ip = f"{self.info['ip']}-inner" if self.info["transport"] == "ipc" else self.info["ip"]
        key, transport = self.info["key"].encode(), self.info["transport"]
        _, info = write_connection_file(inner, ip=ip, key=key, transport=transport)
        os.chmod(inner, 0o600)
        kernel = subprocess.Popen([*again, inner], env={**os.environ, "JPY_PARENT_PID": str(os.getpid())})
        signal.signal(signal.SIGTERM, lambda *_: kernel.terminate())
        signal.signal(signal.SIGINT, lambda *_: None)  # the kernel is in our group, and gets it itself
        try:
            self._carry(kernel, info)
        finally:
            _end(kernel)
            os.unlink(inner)
        return kernel.returncode

    def _carry(self, kernel, info):
        back = {name: self._socket(zmq.DEALER, connect=self._address(name, info)) for name in CHANNELS}
        published = self._socket(zmq.SUB, connect=self._address("iopub", info))
        ways = {self.front[name]: back[name] for name in CHANNELS} | {back[name]: self.front[name] for name in CHANNELS}
        if not self._hears(kernel, published, info):
            return
        for channel, frames, header in self._let_go():
            if header["msg_type"] == "execute_request":
                self._send(self.iopub, "clear_output", {"wait": False}, {"header": header})
            back[channel].send_multipart(frames)
        while kernel.poll() is None:
            for socket in self._poll(self.beat, self.iopub, published, *ways):
                if socket is self.iopub:
                    socket.recv()
                elif socket is self.beat:
                    socket.send_multipart(socket.recv_multipart())
                elif socket is published:
                    self.iopub.send_multipart(socket.recv_multipart())
                else:
                    ways[socket].send_multipart(socket.recv_multipart())

    def _hears(self, kernel, published, info):
        """Whether what the kernel publishes arrives: what it said before would be lost. It ends with the kernel."""
        asking = self._socket(zmq.DEALER, connect=self._address("shell", info), identity=b"asking")
        while kernel.poll() is None:
            self._send(asking, "kernel_info_request", {}, None)
            if published in self._poll(published, timeout_ms=10 * TURN_MS):
                return True
        return False

    # -- sockets

    def _socket(self, kind, *, bind=None, connect=None, identity=IDENTITY):
        socket = self.context.socket(kind)
        socket.linger = 500
        if bind is not None:
            socket.bind(bind)
        else:
            if kind == zmq.SUB:
                socket.subscribe(b"")
            else:
                socket.setsockopt(zmq.IDENTITY, identity)
            socket.connect(connect)
        return socket

    def _address(self, channel, info):
        between = "-" if info["transport"] == "ipc" else ":"
        return f"{info['transport']}://{info['ip']}{between}{info[f'{channel}_port']}"

    def _poll(self, *sockets, timeout_ms=TURN_MS):
        poller = zmq.Poller()
        for socket in sockets:
            poller.register(socket, zmq.POLLIN)
        return dict(poller.poll(timeout_ms))

    def _send(self, socket, kind, content, parent, ident=None):
        self.session.send(socket, kind, content=content, parent=parent, ident=ident)


def _end(kernel):
    if kernel.poll() is None:
        kernel.terminate()
        try:
            kernel.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            kernel.kill()
    kernel.wait()
