"""What a workspace may hold at once, and what it holds."""

from dataclasses import dataclass

from pydantic import Field

from ultramarine.domain.size import Amount
from ultramarine.domain.spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    nodes: int = 0
    cpus_milli: int = 0
    gpus: int = 0

    @classmethod
    def of(cls, amount: Amount, *, nodes: int = 0) -> "Usage":
        """What an amount of machine, or so many nodes of it in all, counts."""
        return cls(nodes=nodes, cpus_milli=amount.cpus_milli, gpus=amount.gpus)

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            nodes=self.nodes + other.nodes, cpus_milli=self.cpus_milli + other.cpus_milli, gpus=self.gpus + other.gpus
        )

    def beyond(self, other: "Usage") -> "Usage":
        """What it has more than `other`, of each kind; nothing where it has less."""
        return Usage(
            nodes=max(0, self.nodes - other.nodes),
            cpus_milli=max(0, self.cpus_milli - other.cpus_milli),
            gpus=max(0, self.gpus - other.gpus),
        )


class Quota(Spec):
    """Limits of a workspace over all its computes; what is not given is not limited. Ours."""

    nodes: int | None = Field(default=None, ge=0, description="nodes of clusters, busy or idle")
    cpus: float | None = Field(default=None, ge=0, description="CPUs of those nodes, and of runs on `local`")
    gpus: int | None = Field(default=None, ge=0, description="GPUs of both")

    def short(self, held: Usage) -> Usage:
        """What of `held` is over it."""
        return Usage(
            nodes=0 if self.nodes is None else max(0, held.nodes - self.nodes),
            cpus_milli=0 if self.cpus is None else max(0, held.cpus_milli - round(self.cpus * 1000)),
            gpus=0 if self.gpus is None else max(0, held.gpus - self.gpus),
        )

    def exceeded(self, held: Usage, more: Usage) -> str | None:
        """Which limit `more` would break, with the numbers; None where it breaks none."""
        rows = (
            ("nodes", self.nodes, held.nodes, more.nodes),
            ("CPUs", self.cpus, held.cpus_milli / 1000, more.cpus_milli / 1000),
            ("GPUs", self.gpus, held.gpus, more.gpus),
        )
        for name, limit, has, wants in rows:
            if limit is not None and wants and has + wants > limit:
                return f"{wants:g} more {name} are needed, {has:g} are held, and its quota is {limit:g}."
        return None
