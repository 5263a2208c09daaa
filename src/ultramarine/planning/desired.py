"""What a node shall do with a run, as far as it follows from the run alone."""

from typing import Literal

from ultramarine.domain.run import Run

PhaseWanted = Literal["prepare", "go", "stop"]


def phase(run: Run) -> PhaseWanted:
    """`prepare` up to the barrier, then `go`; `stop` once it is to end. A run that has ended is not desired at all."""
    if run.is_being_stopped:
        return "stop"
    return "prepare" if run.master is None else "go"
