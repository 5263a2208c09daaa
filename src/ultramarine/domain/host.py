"""Hosts: capacity belongs to machines, not to computes."""

from dataclasses import dataclass

from ultramarine.domain.size import Amount

THIS_MACHINE = "local"
ENDLESS = Amount(cpus_milli=2**52, shares_milli=2**52, memory_bytes=2**52, gpus=2**20)  #: more than anybody asks for


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine, or a cluster that has machines of its own.

    Every claim on it compares-and-sets `version`, so two loops cannot promise the same part.
    """

    name: str
    pool: str = THIS_MACHINE  #: the hosts that one driver serves and one loop plans for
    is_bounded: bool = True  #: else its room is not ours to count: what does not fit waits there
    total: Amount  #: `ENDLESS` where it is not bounded
    gpu_ids: tuple[str, ...] = ()
    version: int = 1

    @property
    def words(self) -> str:
        """What it is called in a sentence."""
        return "this machine" if self.name == THIS_MACHINE else self.name
