"""Hosts of a network of their own: network namespaces on a bridge of this machine, made and removed by a test.

    with hosts.network(2) as network:
        network.address                     # this machine's own address on it
        network.hosts[0].run("um", "job", "list")

A host has its own loopback and its own ports, and shares files, users and control groups with this machine. Needs root
and the `ip` of iproute2. One may lose its cable, and get it back, or die.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DEATH_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One of the hosts."""

    name: str  #: of its network namespace
    address: str  #: where others on the network reach it, IPv4
    cable: str  #: this machine's end of it

    def command(self, *argv: str) -> list[str]:
        """What runs `argv` on this host. Only the network is another one: `ip netns exec` would hide control groups."""
        return ["nsenter", f"--net=/run/netns/{self.name}", "--", *argv]

    def run(
        self, *argv: str, variables: Mapping[str, str] | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever its exit code is. Raises `subprocess.TimeoutExpired`."""
        env = {**os.environ, **(variables or {})}
        return subprocess.run(self.command(*argv), env=env, capture_output=True, text=True, timeout=timeout_s)

    def cut(self) -> None:
        """Pull its cable: nothing is refused, nothing answers."""
        _ip("link", "set", self.cable, "down")

    def mend(self) -> None:
        """Put its cable back."""
        _ip("link", "set", self.cable, "up")

    def pids(self) -> list[int]:
        """Everything that lives there."""
        own = Path("/run/netns", self.name).stat().st_ino
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _network_of(pid) == own]

    def kill(self) -> None:
        """The host dies with all that runs there, as without power: nobody hears a last word of it."""
        self.cut()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in self.pids():
                _signal(pid, number)
        deadline = time.monotonic() + DEATH_S
        while left := self.pids():
            assert time.monotonic() < deadline, f"on {self.name} live on: {left}"
            for pid in left:
                _signal(pid, signal.SIGKILL)
            time.sleep(0.02)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What the hosts and this machine share."""

    address: str  #: of this machine
    hosts: Sequence[Host]


@contextlib.contextmanager
def network(count: int) -> Generator[Network, None, None]:
    """A network of this machine and `count` hosts, 253 at most, who reach each other and nobody else."""
    assert 0 < count < 254, "a network of 24 bits has that many"
    if os.geteuid() != 0:
        raise RuntimeError("Network namespaces need root: run these tests as root, or leave them out.")
    token = secrets.token_hex(4)
    bridge, net = f"umb{token}", f"10.{secrets.randbelow(64) + 160}.{secrets.randbelow(256)}"
    made = Network(
        address=f"{net}.1",
        hosts=[
            Host(name=f"um{token}-{number}", address=f"{net}.{number + 2}", cable=f"umv{token}{number}")
            for number in range(count)
        ],
    )
    with contextlib.ExitStack() as undo:
        _ip("link", "add", bridge, "type", "bridge")
        undo.callback(_ip, "link", "del", bridge)
        _ip("address", "add", f"{made.address}/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for host in made.hosts:
            _ip("netns", "add", host.name)
            undo.callback(_ip, "netns", "del", host.name)
            _plug_in(host, bridge)
            undo.callback(_ip, "link", "del", host.cable)  # a namespace lets go of it later, in its own time
            undo.callback(host.kill)
        yield made


def _plug_in(host: Host, bridge: str) -> None:
    """Join a host and the bridge."""
    _ip("link", "add", host.cable, "type", "veth", "peer", "name", "eth0", "netns", host.name)
    _ip("link", "set", host.cable, "master", bridge, "up")
    _ip("-netns", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
    _ip("-netns", host.name, "link", "set", "eth0", "up")
    _ip("-netns", host.name, "link", "set", "lo", "up")


def _network_of(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return 0


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
