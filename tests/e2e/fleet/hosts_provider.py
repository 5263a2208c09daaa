"""A provider of machines for Ray's autoscaler: each is a host of `tests/hosts.py`, a network namespace of this machine.

It runs in Ray's own environment, in the autoscaler's process, and keeps what it knows in a folder: a file for each
machine, named by it. A file `fail` there holds the words with which it fails; `calls` has a line for each start.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import TAG_RAY_USER_NODE_TYPE

END_S = 10.0


class HostsProvider(NodeProvider):
    """`provider_config`: `hosts`, [[name, address], …], and `folder`; `ultramarine` is added by us.

    `cache`: of environments, which machines have in common: they reach no index.
    """

    def __init__(self, provider_config, cluster_name):
        super().__init__(provider_config, cluster_name)
        self.folder = Path(provider_config["folder"])
        self.hosts = {address: name for name, address in provider_config["hosts"]}

    def non_terminated_nodes(self, tag_filters):
        found = {path.stem: json.loads(path.read_text()) for path in self.folder.glob("*.json")}
        return [
            id
            for id, node in found.items()
            if alive(node["pid"], node["ticks"]) and tag_filters.items() <= node["tags"].items()
        ]

    def create_node_with_resources_and_labels(self, node_config, tags, count, resources, labels):
        with (self.folder / "calls").open("a") as calls:
            calls.write(f"{time.time()} {count}\n")
        if (self.folder / "fail").exists():
            raise RuntimeError((self.folder / "fail").read_text())
        for _ in range(count):
            taken = {self._node(id)["address"] for id in self.non_terminated_nodes({})}
            free = [address for address in self.hosts if address not in taken]
            if not free:
                raise RuntimeError("all hosts are taken")
            self._start(free[0], tags, resources)

    def _start(self, address, tags, resources):
        id = f"m{time.time_ns()}"
        place = tempfile.mkdtemp(prefix=f"{id[-6:]}-", dir="/tmp")
        kept = Path(place, "home", ".cache")
        kept.mkdir(parents=True)
        (kept / "ultramarine").symlink_to(self.provider_config["cache"])
        ours = self.provider_config["ultramarine"]
        command = [
            *("nsenter", f"--net=/run/netns/{self.hosts[address]}", "--", sys.executable, "-P", "-m"),
            *("ray.scripts.scripts", "start", "--block", "--address", ours["head"], "--node-ip-address", address),
            *("--temp-dir", place, "--object-store-memory", str(80 << 20), "--memory", str(2 << 30)),
            *("--num-cpus", str(resources.get("CPU", 1)), "--num-gpus", "0"),
            *("--resources", json.dumps({k: v for k, v in resources.items() if k not in ("CPU", "GPU", "memory")})),
        ]
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHONPATH"))}
        variables = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": ours["token"],
            "TMPDIR": place,
            "HOME": str(kept.parent),
            "RAY_CLOUD_INSTANCE_ID": id,
            "RAY_NODE_TYPE_NAME": tags[TAG_RAY_USER_NODE_TYPE],
        }
        with open(self.folder / f"{id}.log", "wb") as log:
            started = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=plain | variables, start_new_session=True
            )
        self._keep(
            id, {"address": address, "pid": started.pid, "ticks": ticks(started.pid), "tags": tags, "place": place}
        )

    def terminate_node(self, node_id):
        node = self._node(node_id)
        with contextlib.suppress(ProcessLookupError):
            os.kill(node["pid"], signal.SIGTERM)
        deadline = time.monotonic() + END_S
        while alive(node["pid"], node["ticks"]) and time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(node["pid"], os.WNOHANG)
            time.sleep(0.1)
        sweep(node["place"])
        shutil.rmtree(node["place"], ignore_errors=True)
        (self.folder / f"{node_id}.json").unlink(missing_ok=True)

    def set_node_tags(self, node_id, tags):
        node = self._node(node_id)
        self._keep(node_id, {**node, "tags": {**node["tags"], **tags}})

    def node_tags(self, node_id):
        return self._node(node_id)["tags"]

    def internal_ip(self, node_id):
        return self._node(node_id)["address"]

    external_ip = internal_ip

    def is_running(self, node_id):
        return node_id in self.non_terminated_nodes({})

    def is_terminated(self, node_id):
        return not self.is_running(node_id)

    def _node(self, id):
        return json.loads((self.folder / f"{id}.json").read_text())

    def _keep(self, id, node):
        aside = self.folder / f"{id}.{time.time_ns()}"
        aside.write_text(json.dumps(node))
        aside.rename(self.folder / f"{id}.json")


def ticks(pid):
    """When a process started; None where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def alive(pid, since):
    return ticks(pid) == since


def sweep(place):
    """End all that carries a machine's own folder in its command line."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.fsencode(place) in (folder / "cmdline").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)
