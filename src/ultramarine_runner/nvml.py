"""GPUs by NVIDIA's own library, where there is one: `libnvidia-ml.so.1`, spoken to by ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable

LIBRARY = "libnvidia-ml.so.1"
_UUID_BYTES = 96


class _Utilization(ctypes.Structure):
    _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]


class _Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


@dataclass(frozen=True)
class GpuUse:
    """One GPU now. What it cannot tell is None."""

    uuid: str
    utilization_percent: float | None
    memory_used_bytes: int | None
    memory_bytes: int | None
    power_w: float | None


class Nvml:
    """The library, begun. It stays so for as long as the process lives."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def uuids(self) -> list[str]:
        """The GPUs of this machine, in NVML's order."""
        count = ctypes.c_uint()
        if not self._ask("nvmlDeviceGetCount_v2", ctypes.pointer(count)):
            return []
        return [uuid for index in range(count.value) if (uuid := self._uuid(index))]

    def use(self, uuids: Sequence[str]) -> list[GpuUse]:
        """What these GPUs do now; those that are not of this machine are left out."""
        return [self._use(uuid, handle) for uuid in uuids if (handle := self._handle(uuid)) is not None]

    def _uuid(self, index: int) -> str:
        handle, text = ctypes.c_void_p(), ctypes.create_string_buffer(_UUID_BYTES)
        found = self._ask("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.pointer(handle))
        if not found or not self._ask("nvmlDeviceGetUUID", handle, text, ctypes.c_uint(_UUID_BYTES)):
            return ""
        return text.value.decode(errors="replace")

    def _handle(self, uuid: str) -> ctypes.c_void_p | None:
        handle = ctypes.c_void_p()
        found = self._ask("nvmlDeviceGetHandleByUUID", ctypes.c_char_p(uuid.encode()), ctypes.pointer(handle))
        return handle if found else None

    def _use(self, uuid: str, handle: ctypes.c_void_p) -> GpuUse:
        rates, memory, power = _Utilization(), _Memory(), ctypes.c_uint()
        has_rates = self._ask("nvmlDeviceGetUtilizationRates", handle, ctypes.pointer(rates))
        has_memory = self._ask("nvmlDeviceGetMemoryInfo", handle, ctypes.pointer(memory))
        has_power = self._ask("nvmlDeviceGetPowerUsage", handle, ctypes.pointer(power))
        return GpuUse(
            uuid=uuid,
            utilization_percent=float(rates.gpu) if has_rates else None,
            memory_used_bytes=int(memory.used) if has_memory else None,
            memory_bytes=int(memory.total) if has_memory else None,
            power_w=power.value / 1000 if has_power else None,  # it is told in milliwatts
        )

    def _ask(self, function: str, *arguments: Any) -> bool:
        """Whether the call has succeeded. A function that this version lacks has not."""
        call = getattr(self._library, function, None)
        return call is not None and call(*arguments) == 0


def begin(load: Callable[[str], Any] = ctypes.CDLL) -> Nvml | None:
    """The library; None on a machine without an NVIDIA driver, or with one that does not work."""
    try:
        library = load(LIBRARY)
    except OSError:
        return None
    return Nvml(library) if library.nvmlInit_v2() == 0 else None
