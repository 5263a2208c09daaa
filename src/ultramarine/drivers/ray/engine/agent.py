"""What holds a node of a Ray cluster for us: an actor that starts our runner beside itself, and ends with it.

Ray carries this class to the node; nothing of ours is installed there. Standard library only.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

KEY_VARIABLE = "ULTRAMARINE_ALLOCATION"
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER")
KEPT_PREFIXES = ("PIP_", "UV_", "SSL_", "OPENBLAS_", "ULTRAMARINE_TEST")
KEPT_ENDINGS = ("_PROXY", "_proxy", "_CA_BUNDLE")
SWEEP_S = 2.0
#: The runner ends with the actor: a node that Ray gives to others must not go on working for us.
BOUND = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); "
    "os.getppid() == int(sys.argv[1]) or os._exit(1); os.execv(sys.argv[2], sys.argv[2:])"
)


class Agent:
    """`config`: of the runner, with the join secret: it goes on in a file that its owner alone reads."""

    def __init__(self, key, *, rank, config, runner):
        self.key = key
        self.folder = Path(tempfile.mkdtemp(prefix=f"ultramarine-{key}.{rank}-"))
        self.pyz = self.folder / "runner.pyz"
        self.pyz.write_bytes(runner)
        descriptor = os.open(self.folder / "config.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(self._completed(config), file)
        python = getattr(sys, "_base_executable", "") or sys.executable  # not Ray's own, with Ray's packages
        started = [python, "-I", "-S", "-c", BOUND, str(os.getpid()), python, "-I", str(self.pyz), str(self.folder)]
        with (self.folder / "runner.log").open("ab") as log:
            self.child = subprocess.Popen(
                started,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=environment() | {KEY_VARIABLE: key},
                start_new_session=True,
            )

    def look(self):
        """Whether its runner lives; when it does not, nothing of the allocation does, once this has returned."""
        if self.child.poll() is None:
            return {"state": "up", "reason": ""}
        self._sweep()
        return {"state": "ended", "reason": f"Its runner (pid {self.child.pid}) has ended."}

    def stop(self, grace_s):
        """Ask the runner to end, and make it after `grace_s`. Nobody waits here."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            timer = threading.Timer(grace_s, self._kill)
            timer.daemon = True
            timer.start()

    def _kill(self):
        if self.child.poll() is None:
            self.child.kill()

    def _sweep(self):
        sys.path.insert(0, str(self.pyz))
        for name in ("trees", "cgroups"):  # the runner's own ways, from the file that was brought here
            importlib.import_module(f"ultramarine_runner.{name}").sweep(self.key, patience_s=SWEEP_S)

    def _completed(self, config):
        """With what only the node knows: where its files go, and which GPUs Ray gave it."""
        given = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
        cache = Path.home() / ".cache" / "ultramarine"
        return {**config, "cache": config.get("cache") or str(cache), "gpus": given if config.get("gpus") else []}


def environment():
    """What a runner inherits: how the network is reached, nothing of Ray's."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in KEPT or name.startswith(KEPT_PREFIXES) or name.endswith(KEPT_ENDINGS)
    }
