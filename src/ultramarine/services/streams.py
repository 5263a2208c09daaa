"""Live logs and events, as messages that can be resumed after any of them."""

import codecs
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from ultramarine.domain.names import RunKey
from ultramarine.domain.page import Page, PageRequest
from ultramarine.domain.run import RUN
from ultramarine.files.logs import LogFile
from ultramarine.services import jobs
from ultramarine.services.context import Context
from ultramarine.store import events

PIECE_BYTES = 256 * 1024
EVENTS_AT_ONCE = 500
QUIET_S = 15.0  #: after so long without news something is sent, so that a dead connection is noticed


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a job stands."""

    status: str
    reason: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What a log has gained, from byte `offset` on."""

    attempt: int
    rank: str
    file: str
    offset: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A server-sent event; without news it only says that the stream lives.

    `id` names the place in the stream after it; None keeps the place.
    """

    event: str
    news: Standing | Piece | events.Happening | None = None
    id: str | None = None


QUIET = Message(event="quiet")


@dataclass(slots=True)
class _Place:
    """How far a job's stream has been told: the last event, and the bytes of each log."""

    seq: int = 0
    read: dict[str, int] = field(default_factory=dict[str, int])

    @classmethod
    def parse(cls, id: str | None) -> "_Place":
        try:
            seq, read = json.loads(id or "")
            return cls(int(seq), {str(name): int(offset) for name, offset in dict(read).items()})
        except (ValueError, TypeError):
            return cls()

    def __str__(self) -> str:
        return json.dumps([self.seq, self.read], separators=(",", ":"))


async def of_job(ctx: Context, workspace: str, name: str, *, last_id: str | None) -> AsyncIterator[Message]:
    """`status` and `log` messages as they happen, and `end` once the job has ended and its logs are told."""
    place = _Place.parse(last_id)
    while True:
        count = ctx.changes.count
        job, attempts = await jobs.attempts(ctx, workspace, name)
        newest = attempts[-1]
        async with ctx.read() as tx:
            happened = (await events.of(tx, job.id, PageRequest(after=str(place.seq), limit=EVENTS_AT_ONCE))).rows
        for happening in happened:
            place.seq = happening.seq
            if happening.status not in {s.value for s in RUN.final}:
                stands = Standing(status=happening.status, reason=happening.reason, attempt=newest.ordinal)
                yield Message(event="status", news=stands, id=str(place))
        for run in attempts:
            for message in _logs(ctx, run.key, run.ordinal, place, is_over=run.is_final):
                yield message
        if newest.is_final and not _has_more(ctx, newest.key, newest.ordinal, place):
            stands = Standing(status=newest.status.value, reason=newest.reason, attempt=newest.ordinal)
            yield Message(event="end", news=stands, id=str(place))
            return
        if not happened and await ctx.changes.after(count, timeout_s=QUIET_S) == count:
            yield QUIET


def _logs(ctx: Context, run: RunKey, attempt: int, place: _Place, *, is_over: bool) -> list[Message]:
    """What the logs of a run have gained, in whole lines (its last line may end without one)."""
    found: list[Message] = []
    for log in ctx.logs.files(run):
        name = _name(attempt, log)
        offset = place.read.get(name, 0)
        piece = ctx.logs.read(log.place, offset=offset, bytes_max=PIECE_BYTES)
        end = piece.rfind(b"\n") + 1
        if end == 0 and (is_over or len(piece) == PIECE_BYTES):
            end = len(piece)
        if end == 0:
            continue
        place.read[name] = offset + end
        text = codecs.decode(piece[:end], "utf-8", "replace")
        news = Piece(attempt=attempt, rank=log.place.rank, file=log.place.file, offset=offset, text=text)
        found.append(Message(event="log", news=news, id=str(place)))
    return found


def _has_more(ctx: Context, run: RunKey, attempt: int, place: _Place) -> bool:
    return any(log.size > place.read.get(_name(attempt, log), 0) for log in ctx.logs.files(run))


def _name(attempt: int, log: LogFile) -> str:
    return f"{attempt}/{log.place.rank}/{log.place.file}"


async def happenings(
    ctx: Context, workspace: str, request: PageRequest, *, noun: str = "", name: str = ""
) -> Page[events.Happening]:
    """The moves of anything in a workspace, the oldest first."""
    async with ctx.read() as tx:
        return await events.page(tx, workspace, request, noun=noun, name=name)


async def of_events(ctx: Context, workspace: str, *, after: str, noun: str = "") -> AsyncIterator[Message]:
    """Every move of anything in a workspace, from event `after` on, without end."""
    while True:
        count = ctx.changes.count
        async with ctx.read() as tx:
            request = PageRequest(after=after, limit=EVENTS_AT_ONCE)
            happened = (await events.page(tx, workspace, request, noun=noun)).rows
        for happening in happened:
            after = str(happening.seq)
            yield Message(event="event", news=happening, id=after)
        if not happened and await ctx.changes.after(count, timeout_s=QUIET_S) == count:
            yield QUIET
