"""How often what goes wrong."""

from dataclasses import dataclass, replace

from ultramarine.drivers.simulated import Faults

LATER_THAN_A_START_MAY_LAST_S, NEVER_S = 40.0, 1e6


def faults_of(seed: int) -> Faults:
    """What the target does wrong. In every third world the machines that come up late never do."""
    late_s = LATER_THAN_A_START_MAY_LAST_S if seed % 3 else NEVER_S
    return Faults(outage=0.05, lost_reply=0.05, no_word=0.1, late_start=0.05, late_s=late_s)


@dataclass(slots=True, kw_only=True)
class Storm:
    """What else goes wrong, as chances for each step of the world."""

    crash: float = 0.01
    standstill: float = 0.004
    kill: float = 0.004
    cut_off: float = 0.01
    shut_down: float = 0.002
    jump: float = 0.002
    usurp: float = 0.0  #: the leader's lease runs out, and the other server may take over in the middle of its turn
    backup: float = 0.0
    restore: float = 0.0  #: the store goes back to the backup, in a new epoch, while all that runs goes on
    loss: float = 0.1
    doubling: float = 0.1

    @classmethod
    def of(cls, seed: int) -> "Storm":
        """Half of the storms change leaders all the time; the others leave time for silence to become a fact.

        In every fourth the installation is restored from a backup.
        """
        storm = cls(usurp=0.08, standstill=0.02) if seed % 2 else cls()
        return replace(storm, backup=0.02, restore=0.01) if seed % 4 >= 2 and seed % 8 >= 4 else storm


NO_STORM = Storm(crash=0, standstill=0, kill=0, cut_off=0, shut_down=0, jump=0, loss=0, doubling=0)
