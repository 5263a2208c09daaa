"""Who asks, and what for: tokens, roles, and the one table of what a role may do."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ultramarine.domain.errors import NotAllowed
from ultramarine.domain.names import ComputeId, JobId


class Role(StrEnum):
    """Roles in a workspace, the weakest first; each may do what those before it may."""

    READER = "reader"
    DATA_SCIENTIST = "data_scientist"
    COMPUTE_OPERATOR = "compute_operator"
    OWNER = "owner"


class Right(StrEnum):
    READ = "read"
    WORK = "work"  #: create and change jobs, data, models, endpoints
    OPERATE = "operate"  #: create and change compute
    OWN = "own"  #: tokens, workspaces


NEEDS = {
    Right.READ: Role.READER,
    Right.WORK: Role.DATA_SCIENTIST,
    Right.OPERATE: Role.COMPUTE_OPERATOR,
    Right.OWN: Role.OWNER,
}
EVERY_WORKSPACE = "*"
DEFAULT_WORKSPACE = "default"  #: the one that is always there


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token's row. The token itself is shown once and kept nowhere.

    `job` and `instance` are set on that of a run: of whose it is.
    """

    id: str
    subject: str
    workspace: str  #: or `EVERY_WORKSPACE`
    role: Role
    job: JobId | None = None
    instance: ComputeId | None = None
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def own_workspace(self) -> str:
        """Where it acts when nobody says where."""
        return DEFAULT_WORKSPACE if self.workspace == EVERY_WORKSPACE else self.workspace

    def is_valid(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A browser that has signed in to the second origin."""

    workspace: str  #: the one that it shows where the browser asks for none
    subject: str
    reach: str  #: what it may show: one workspace, or `EVERY_WORKSPACE`
    right: Right  #: what it may do there


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A browser that signs in to one compute instance."""

    instance: ComputeId
    subject: str
    token: str  #: the id of the token by which: when that ends, it ends
    path: str  #: of the instance, below which alone it is shown


def may(role: Role, right: Right) -> bool:
    """Whether the table gives this role this right."""
    order = list(Role)
    return order.index(role) >= order.index(NEEDS[right])


def in_tracking(role: Role) -> Right:
    """What it may do with runs and models, where only looking and working are told apart."""
    return Right.WORK if may(role, Right.WORK) else Right.READ


def check(token: Token, right: Right, workspace: str) -> None:
    """Let pass, or raise `NotAllowed` with what would be needed."""
    needed = NEEDS[right].value
    if workspace == EVERY_WORKSPACE != token.workspace:
        raise NotAllowed(
            f"This is about the whole installation, and the token of {token.subject!r} is of workspace "
            f"{token.workspace!r} alone.",
            hint=_other(token, f"um token create --every-workspace --role {needed} --subject …"),
        )
    if token.workspace not in (workspace, EVERY_WORKSPACE):
        raise NotAllowed(
            f"This token is of workspace {token.workspace!r}, not of {workspace!r}.",
            hint=_other(token, f"um token create -w {workspace} --subject …"),
        )
    if not may(token.role, right):
        raise NotAllowed(
            f"This needs the role {needed}, and the token of {token.subject!r} has {token.role.value}.",
            hint=_other(token, f"um token create --role {needed} --subject …"),
        )


def _other(token: Token, command: str) -> str:
    """How to come to a token that is good for it. That of a run is nobody's choice."""
    if token.job is None and token.instance is None:
        return f"An owner can make one that may: {command}"
    inside = "a job" if token.instance is None else "a compute instance"
    return f"What runs in {inside} has its workspace and the role {token.role.value}; ask it elsewhere, as yourself."
