"""Hosts: capacity belongs to machines, not to computes."""

from dataclasses import dataclass

from ultramarine.domain.size import Amount

THIS_MACHINE = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine. Every claim on it compares-and-sets `version`, so two loops cannot promise the same part."""

    name: str
    total: Amount
    gpu_ids: tuple[str, ...] = ()
    version: int = 1
