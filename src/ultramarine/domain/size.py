"""How much of a machine: catalogue sizes, Azure's aliases, and what is left."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Protocol

from ultramarine.domain.errors import InvalidInput, NotFound

GIB = 1024**3
SHARE_MILLI = 100  #: of CPUs, what is reserved on the machine itself by what mostly waits: replicas, instances


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """An amount of machine. CPUs are in thousandths, so that parts add up exactly.

    `shares_milli` are CPUs that are mostly waited with: replicas and instances reserve those, training reserves whole
    CPUs. A machine has as many of one as of the other, so that an endpoint fits beside a training cluster that holds
    every CPU.
    """

    cpus_milli: int = 0
    shares_milli: int = 0
    memory_bytes: int = 0
    gpus: int = 0

    # What is asked for each run of a long queue is written out: to go through the names takes five times as long.

    def fits_in(self, other: "Amount") -> bool:
        return (
            self.cpus_milli <= other.cpus_milli
            and self.shares_milli <= other.shares_milli
            and self.memory_bytes <= other.memory_bytes
            and self.gpus <= other.gpus
        )

    def within(self, other: "Amount") -> "Amount":
        """As much of it as `other` has."""
        return Amount(**{name: min(getattr(self, name), getattr(other, name)) for name in _UNITS})

    def beyond(self, other: "Amount") -> "Amount":
        """What it has more than `other`, of each kind; nothing where it has less."""
        return Amount(
            cpus_milli=max(0, self.cpus_milli - other.cpus_milli),
            shares_milli=max(0, self.shares_milli - other.shares_milli),
            memory_bytes=max(0, self.memory_bytes - other.memory_bytes),
            gpus=max(0, self.gpus - other.gpus),
        )

    def share_of(self, whole: "Amount") -> float:
        """Its dominant share: the largest part that it takes of any one kind. More than 1 where it does not fit."""
        shares = [getattr(self, n) / (getattr(whole, n) or 0.5) for n in _UNITS if getattr(self, n)]
        return max(shares, default=0.0)

    def __mul__(self, count: int) -> "Amount":
        return Amount(**{name: getattr(self, name) * count for name in _UNITS})

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(
            cpus_milli=self.cpus_milli + other.cpus_milli,
            shares_milli=self.shares_milli + other.shares_milli,
            memory_bytes=self.memory_bytes + other.memory_bytes,
            gpus=self.gpus + other.gpus,
        )

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(**{name: getattr(self, name) - getattr(other, name) for name in _UNITS})

    def __str__(self) -> str:
        cpus = self.cpus_milli or self.shares_milli
        kind = "a share of " if self.shares_milli and not self.cpus_milli else ""
        gpus = f", {self.gpus} GPU{'s' * (self.gpus != 1)}" if self.gpus else ""
        return f"{kind}{cpus / 1000:g} CPU{'s' * (cpus != 1000)}, {self.memory_bytes / GIB:.1f} GiB{gpus}"


_UNITS = tuple(field.name for field in fields(Amount))
NOTHING = Amount()


_SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": GIB, "ti": 2**40}
_MEMORY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]i?)?b?\s*", re.IGNORECASE)


def memory_bytes(text: str) -> int:
    """`4Gi`, `512Mi`, `2g`: bytes, in Kubernetes' suffixes. Raises ValueError."""
    match = _MEMORY.fullmatch(text)
    found = round(float(match[1]) * _SUFFIXES[(match[2] or "").lower()]) if match else 0
    if found <= 0:
        raise ValueError(f"{text[:40]!r} is no amount of memory: write 512Mi or 4Gi")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    name: str
    amount: Amount


class Capacity(Protocol):
    """A host, as sizes see it: how much it has, and what it is called in a sentence."""

    @property
    def total(self) -> Amount: ...

    @property
    def words(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Sizes:
    """The catalogue.

    An alias of Azure's means "up to": it is fitted to the largest native size that the machine has room for.
    """

    native: Mapping[str, Amount]
    aliases: Mapping[str, str]

    def fitted(self, name: str, machine: Capacity) -> tuple[Size, str]:
        """The size that `name` means on a machine, and a notice for the user ("" when there is nothing to say)."""
        if (amount := self.native.get(name.lower())) is not None:
            if not amount.fits_in(machine.total):
                raise InvalidInput(
                    f"size: {name} asks for {amount}, and {machine.words} has {machine.total}.",
                    hint=f"Sizes that fit here: {', '.join(self._fitting(machine.total)) or 'none'} "
                    "(um compute list-sizes).",
                )
            return Size(name=name.lower(), amount=amount), ""
        if (meant := self.aliases.get(name.upper())) is None:
            raise NotFound("size", name, hint="um compute list-sizes", known=[*self.native])
        wanted = self.native[meant]
        if wanted.fits_in(machine.total):
            return Size(name=meant, amount=wanted), f"{name} is {meant} here ({wanted})."
        smaller = [n for n in self._fitting(machine.total) if self.native[n].gpus == 0 or wanted.gpus]
        if not smaller or (wanted.gpus and not machine.total.gpus):
            raise InvalidInput(
                f"size: {name} needs {wanted}, and {machine.words} has {machine.total}.", hint="um compute list-sizes"
            )
        best = max(smaller, key=lambda n: (self.native[n].gpus, self.native[n].cpus_milli, self.native[n].memory_bytes))
        notice = f"{name} means up to {wanted}; fitted to {machine.words}: {best} ({self.native[best]})."
        return Size(name=best, amount=self.native[best]), notice

    def _fitting(self, machine: Amount) -> list[str]:
        return [name for name, amount in self.native.items() if amount.fits_in(machine)]
