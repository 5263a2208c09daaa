"""What this machine has: CPUs, memory and GPUs that may be promised."""

import ctypes
import os
import platform
from pathlib import Path

from ultramarine.domain.host import THIS_MACHINE, Host
from ultramarine.domain.size import Amount


def this_machine() -> Host:
    """Measured once, at the start: the CPUs that we may use, the memory that there is (a cgroup's limit counts), the
    GPUs of NVML by UUID."""
    gpus = _gpu_uuids()
    cpus_milli = len(os.sched_getaffinity(0)) * 1000
    total = Amount(cpus_milli=cpus_milli, shares_milli=cpus_milli, memory_bytes=_memory_bytes(), gpus=len(gpus))
    return Host(name=THIS_MACHINE, total=total, gpu_ids=gpus)


def this_platform() -> str:
    return f"{platform.system().lower()}-{platform.machine()}"


def _memory_bytes() -> int:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [physical]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return min(limits)


def _gpu_uuids() -> tuple[str, ...]:
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return ()  # no NVIDIA driver on this machine
    # imported late: most machines have no GPU, and it takes as long as a Python's start
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()  # the driver is there, and does not work
    try:
        # Its functions have parameters without types.
        handle_of, uuid_of = pynvml.nvmlDeviceGetHandleByIndex, pynvml.nvmlDeviceGetUUID  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return tuple(str(uuid_of(handle_of(index))) for index in range(pynvml.nvmlDeviceGetCount()))
    finally:
        pynvml.nvmlShutdown()
