"""What this machine is and has, as told in `hello`."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .environments import find_pythons, there
from .nvml import GpuUse, Nvml

ISOLATION = "process-tree"
ENVIRONMENTS_MAX, DIGITS = 200, 16  #: that are told of, and of the digest of each


def boot_s() -> float:
    """Seconds since boot, time asleep included: what leases are counted on."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def describe(folder: Path, cache: Path, nvml: Nvml | None) -> dict[str, Any]:
    """The `machine` part of hello. Sizes in bytes."""
    return {
        "hostname": socket.gethostname(),
        "boot_id": _read("/proc/sys/kernel/random/boot_id"),
        "platform": platform_name(),
        "glibc": platform.libc_ver()[1],
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": memory("MemTotal"),
        "disk_free_bytes": disk_free(folder),
        "gpus": nvml.uuids() if nvml else [],
        "pythons": pythons(cache),
        "isolation": ISOLATION,
    }


def platform_name() -> str:
    """E.g. `linux-x86_64`."""
    return f"{platform.system().lower()}-{platform.machine()}"


def load_now(folder: Path, gpus: Sequence[GpuUse], *, cache: Path, reserve_bytes: int) -> dict[str, Any]:
    """The `node` part of a report. It ails when less than `reserve_bytes` is free where we must write."""
    received, sent = network_bytes()
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "disk_bytes": shutil.disk_usage(folder).total,
        "network_received_bytes": received,
        "network_sent_bytes": sent,
        "gpus": [asdict(gpu) for gpu in gpus],
        "load": round(os.getloadavg()[0], 2),
        "memory_free_bytes": memory("MemAvailable"),
        "disk_free_bytes": disk_free(folder),
        "shows": ISOLATION,
        "ails": ails([folder, cache], reserve_bytes),
        "environments": [digest[:DIGITS] for digest in there(cache)[:ENVIRONMENTS_MAX]],
    }


def ails(folders: Sequence[Path], reserve_bytes: int) -> str:
    """Why no more work should come here, in words; empty: nothing."""
    for folder in folders:
        try:
            free = disk_free(folder)
        except OSError as error:
            return f"its folder {folder} cannot be used: {error.strerror}."
        if free < reserve_bytes:
            free_mb, kept_mb = free // 10**6, reserve_bytes // 10**6
            return f"its disk is full: {free_mb} MB free at {folder}, of which {kept_mb} MB are kept free."
    return ""


def memory(field: str) -> int:
    """A field of /proc/meminfo, in bytes; 0 when it is not there."""
    found = re.search(rf"^{field}:\s+(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def disk_free(folder: Path) -> int:
    """Bytes that we may still write where `folder` is."""
    return shutil.disk_usage(folder).free


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory since boot."""
    found = re.search(r"^oom_kill (\d+)", _read("/proc/vmstat"), re.MULTILINE)
    return int(found.group(1)) if found else 0


def pythons(cache: Path, *, fresh_s: float = 3600.0) -> dict[str, str]:
    """The Pythons of this machine, x.y to path. Trying each costs seconds: the host's last find is good for an hour."""
    file = cache / "pythons.json"
    boot_id = _read("/proc/sys/kernel/random/boot_id")
    try:
        kept: dict[str, Any] = json.loads(file.read_text())
        young = 0 <= boot_s() - kept["at_boot_s"] < fresh_s and kept["boot_id"] == boot_id
        if young and all(Path(path).exists() for path in kept["found"].values()):
            return dict(kept["found"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none yet, or not one of ours: look
    found = find_pythons()
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd, fresh = tempfile.mkstemp(dir=cache, prefix=".pythons-")
    with os.fdopen(fd, "w") as stream:
        json.dump({"found": found, "at_boot_s": boot_s(), "boot_id": boot_id}, stream)
    os.replace(fresh, file)
    return found


def network_bytes() -> tuple[int, int]:
    """Received and sent by this machine since its boot, loopback apart."""
    received = sent = 0
    for line in _read("/proc/net/dev").splitlines():
        name, colon, rest = line.partition(":")
        fields = rest.split()
        if colon and name.strip() != "lo" and len(fields) > 8:
            received, sent = received + int(fields[0]), sent + int(fields[8])
    return received, sent


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""
