"""What holds a node of a Ray cluster for us: an actor that starts our runner beside itself, and ends with it.

Ray carries this class to the node; nothing of ours is installed there. Standard library only.
"""

import contextlib
import fcntl
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

KEY_VARIABLE = "ULTRAMARINE_ALLOCATION"
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER")
KEPT_PREFIXES = ("PIP_", "UV_", "SSL_", "OPENBLAS_", "ULTRAMARINE_TEST")
KEPT_ENDINGS = ("_PROXY", "_proxy", "_CA_BUNDLE")
SWEEP_S = 2.0
MARK, PYZ = "ultramarine-", "runner.pyz"
#: The runner ends with the actor: a node that Ray gives to others must not go on working for us.
BOUND = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); "
    "os.getppid() == int(sys.argv[1]) or os._exit(1); os.execv(sys.argv[2], sys.argv[2:])"
)


class Agent:
    """`config`: of the runner, with the join secret: it goes on in a file that its owner alone reads.

    `lease_s`: so long a runner may stand still; then its tasks are ended for it.
    """

    def __init__(self, key, *, config, runner, lease_s):
        for left in left_by_the_dead():
            with contextlib.suppress(OSError):  # another agent does it, or something of it cannot be ended
                sweep(left)
        self.key, self.lease_s, self.stopped_at, self.ended = key, lease_s, None, None
        self.folder = Path(tempfile.mkdtemp(prefix=f"{MARK}{key}-"))
        self.held = held(self.folder, key)
        pyz = self.folder / PYZ
        pyz.write_bytes(runner)
        descriptor = os.open(self.folder / "config.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(completed(config), file)
        python = getattr(sys, "_base_executable", "") or sys.executable  # not Ray's own, with Ray's packages
        started = [python, "-I", "-S", "-c", BOUND, str(os.getpid()), python, "-I", str(pyz), str(self.folder)]
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
        """Why it has ended, or nothing while its runner lives. When it has ended nothing of it is left here."""
        if self.ended is None and self.child.poll() is None and not self._stands_still():
            return ""
        if self.ended is None:
            ended = "has ended" if self.stopped_at is None else "was stopped by a signal for longer than its lease"
            words = f"Its runner (pid {self.child.pid}) {ended}. {last_words(self.folder / 'runner.log')}".strip()
            sweep(self.key)
            self.child.poll()
            self.ended = words
        return self.ended

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

    def _stands_still(self):
        state = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state not in "Tt":
            self.stopped_at = None
            return False
        self.stopped_at = self.stopped_at or time.monotonic()
        return time.monotonic() - self.stopped_at >= self.lease_s


def sweep(key):
    """End whatever carries the key on this node, then remove its files. Raises `TimeoutError` when something lives on.

    Also for an agent that is gone: it runs on the same node then, as a task.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{MARK}{key}-*"):
        sys.path.insert(0, str(folder / PYZ))
        for name in ("trees", "cgroups"):  # the runner's own ways, from the file that was brought here
            importlib.import_module(f"ultramarine_runner.{name}").sweep(key, patience_s=SWEEP_S)
        sys.path.remove(str(folder / PYZ))
        for path, _, _ in os.walk(folder):  # what is read-only cannot be emptied
            os.chmod(path, 0o700)
        shutil.rmtree(folder)


def held(folder, key):
    """A file that is locked for as long as this process lives."""
    file = (folder / "held.new").open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    file.write(key)
    file.flush()
    (folder / "held.new").rename(folder / "held")  # whoever finds it finds it locked
    return file


def left_by_the_dead():
    """Keys of those whose agent was killed with its raylet, so that nobody could remove their files."""
    keys = []
    for path in Path(tempfile.gettempdir()).glob(f"{MARK}*/held"):
        try:
            with path.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                keys.append(file.read())
        except OSError:  # it lives, or is another user's
            continue
    return keys


def completed(config):
    """With what only the node knows: where its files go, and which GPUs Ray gave it."""
    given = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    cache = Path.home() / ".cache" / "ultramarine"
    return {**config, "cache": config.get("cache") or str(cache), "gpus": given if config.get("gpus") else []}


def last_words(log):
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else ""


def environment():
    """What a runner inherits: how the network is reached, nothing of Ray's."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in KEPT or name.startswith(KEPT_PREFIXES) or name.endswith(KEPT_ENDINGS)
    }
