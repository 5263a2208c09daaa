"""An allocation: machines held under our key, each with a runner. Its nodes are what runs are placed on."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from ultramarine.domain.machine import Machine
from ultramarine.domain.names import AllocationKey, ComputeId, Epoch, NodeKey
from ultramarine.domain.size import Amount


class AllocationStatus(StrEnum):
    WANTED = "Wanted"  #: the row is written, the driver may or may not have been asked
    STARTING = "Starting"  #: the driver was asked
    UP = "Up"  #: its runners have said hello
    DRAINING = "Draining"  #: no new work; to be released when nothing runs on it
    RELEASING = "Releasing"  #: the driver was asked to end it
    ENDED = "Ended"  #: the target's positive word
    FORGOTTEN = "Forgotten"


class AllocationEvent(StrEnum):
    REQUESTED = "requested"
    SAID_HELLO = "said_hello"
    DRAIN_ASKED = "drain_asked"
    FOUND_SICK = "found_sick"  #: drained, and counted among the starts that failed, so that the next one waits a little
    RELEASE_ASKED = "release_asked"
    FOUND_ENDED = "found_ended"
    CLEANED_UP = "cleaned_up"


S, E = AllocationStatus, AllocationEvent
ALLOCATION = Machine(
    noun="allocation",
    initial=S.WANTED,
    table={
        (S.WANTED, E.REQUESTED): S.STARTING,
        (S.WANTED, E.SAID_HELLO): S.UP,  # the runner was faster than the record of its request
        (S.WANTED, E.DRAIN_ASKED): S.DRAINING,
        (S.UP, E.REQUESTED): S.UP,
        (S.STARTING, E.SAID_HELLO): S.UP,
        (S.STARTING, E.DRAIN_ASKED): S.DRAINING,
        (S.UP, E.DRAIN_ASKED): S.DRAINING,
        (S.UP, E.FOUND_SICK): S.DRAINING,
        (S.DRAINING, E.RELEASE_ASKED): S.RELEASING,
        (S.ENDED, E.CLEANED_UP): S.FORGOTTEN,
    }
    # A wanted one only when it is of before a restore: it may have been started after the backup was made.
    | {(s, E.FOUND_ENDED): S.ENDED for s in (S.WANTED, S.STARTING, S.UP, S.DRAINING, S.RELEASING)},
)


def key_of(epoch: Epoch, compute: ComputeId, number: int) -> AllocationKey:
    """Our name for the `number`th allocation of a compute, never given twice."""
    return AllocationKey(f"{epoch}-{compute}-{number}")


def compute_of(key: AllocationKey) -> ComputeId:
    """Whose allocation it is."""
    return ComputeId(key.split("-")[1])


HOLDS_ROOM = ALLOCATION.statuses - {S.ENDED, S.FORGOTTEN}  #: its claim on the host counts
USABLE = frozenset({S.WANTED, S.STARTING, S.UP})  #: it is, or soon will be, a place for runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    key: AllocationKey
    compute: ComputeId
    workspace: str
    compute_name: str
    host: str
    claim: Amount  #: what it holds of its host; nothing for an elastic node, whose runs hold their own
    capacity: Amount  #: what its node offers to runs
    gpu_ids: tuple[str, ...] = ()
    is_elastic: bool = False  #: its node has no limits of its own: runs claim what they take from the host themselves
    status: AllocationStatus = ALLOCATION.initial
    reason: str = ""
    version: int = 1
    created_at: datetime
    changed_at: datetime
    up_at: datetime | None = None  #: when its runner said hello; None again once it was found sick

    @property
    def node(self) -> NodeKey:
        """Its only node, as long as allocations are single machines."""
        return NodeKey(f"{self.key}.0")

    def after(self, event: AllocationEvent, *, now: datetime, reason: str = "") -> "Allocation":
        status = ALLOCATION.next(self.status, event)
        up_at = {E.SAID_HELLO: now, E.FOUND_SICK: None}.get(event, self.up_at)
        reason = reason or self.reason  # why it was made, until it is to go
        return replace(self, status=status, reason=reason, version=self.version + 1, changed_at=now, up_at=up_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One machine of an allocation, whose runner has said hello. Placement and drain compare-and-set its version."""

    key: NodeKey
    allocation: AllocationKey
    nonce: str
    machine: dict[str, object]
    version: int = 1
    used_at: datetime  #: when a run last began or ended on it
