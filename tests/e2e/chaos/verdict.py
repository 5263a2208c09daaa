"""Whether every job of a campaign has ended as its kind says, once, with the log that it wrote."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ultramarine.domain.errors import NotFound, UltramarineError
from ultramarine.domain.run import INFRASTRUCTURE, INFRASTRUCTURE_RETRIES_MAX

from ..installation import Installation
from ..job.witness import FAILED, line
from . import ledger
from .campaign import Planned
from .rows import Attempt

Log = Callable[[Attempt, int], str]  #: of an attempt and a rank, what the server has of its log
LOSSES = {cause.value for cause in INFRASTRUCTURE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known at the end."""

    attempts: Mapping[str, Sequence[Attempt]]
    lives: Mapping[str, Sequence[ledger.Life]]
    shot: frozenset[str]  #: runs of which a rank was killed from outside
    full: Sequence[tuple[float, float]]  #: when the nodes' disk was full
    hurt: frozenset[str] = frozenset()  #: nodes whose runner was killed, or cut off for long

    def was_full(self, attempt: Attempt) -> bool:
        return any(attempt.began_at < end and begin < attempt.ended_at for begin, end in self.full)


def unwatched(jobs: Sequence[Planned], attempts: Mapping[str, Sequence[Attempt]]) -> list[tuple[float, float]]:
    """When a hog of the disk ran on a node that was lost: with nobody to end it in time it may fill the disk of all."""
    hogs = [each for job in jobs if job.kind.deed == "hog" for each in attempts.get(job.name, ())]
    return [(each.began_at, each.ended_at) for each in hogs if each.cause in LOSSES]


def of_job(job: Planned, facts: Facts, log: Log) -> list[str]:
    """What is wrong with a job, in words; nothing when all is well."""
    attempts = facts.attempts.get(job.name, ())
    if not attempts:
        return [f"{job.name} was taken, and is not there"]
    wrong = [
        *_end(job, attempts, facts),
        *_count(job, attempts),
        *ledger.at_once([each.key for each in attempts], facts.lives),
    ]
    for attempt in attempts:
        wrong += _logs(job, attempt, facts, log)
    return [f"{job.name}: {each}" for each in wrong]


def _end(job: Planned, attempts: Sequence[Attempt], facts: Facts) -> Iterator[str]:
    """As its kind says; or what was done to it excuses another end."""
    (status, cause), last = job.kind.ends, attempts[-1]
    is_so = last.status == status and (status == "Canceled" or last.cause == cause)
    if not is_so and not _is_excused(attempts, facts):
        yield f"attempt {last.ordinal} is {last.status}, {last.cause} (code {last.code}), and not {status}, {cause}"
    if is_so and cause == "exited" and last.code != FAILED and not _is_excused(attempts, facts):
        yield f"its exit code is {last.code}"
    if is_so and status == "Completed" and len(facts.lives.get(last.key, ())) != job.ranks:
        yield f"it completed, and of its {job.ranks} ranks {len(facts.lives.get(last.key, ()))} had begun"


def _is_excused(attempts: Sequence[Attempt], facts: Facts) -> bool:
    """It was lost too often, a rank of it was shot, or the disk was full by somebody else's doing."""
    last = attempts[-1]
    was_hit = any(each.key in facts.shot or facts.was_full(each) for each in attempts)
    return last.status == "Failed" and (
        (last.cause in LOSSES and last.losses >= INFRASTRUCTURE_RETRIES_MAX)
        or (last.cause in ("disk_full", "exited") and was_hit)
    )


def _count(job: Planned, attempts: Sequence[Attempt]) -> Iterator[str]:
    """One after the other; what was lost or gave way does not use up `retries`."""
    if [each.ordinal for each in attempts] != list(range(1, len(attempts) + 1)):
        yield f"its attempts are {[each.ordinal for each in attempts]}"
    if (attempts[0].losses, attempts[0].retries_left) != (0, job.retries):
        yield f"its first attempt has {attempts[0].losses} losses and {attempts[0].retries_left} retries"
    for one, after in pairwise(attempts):
        lost, gave_way = one.cause in LOSSES, one.cause == "preempted"
        wanted = (one.losses + lost, one.retries_left - (not lost and not gave_way))
        if one.status != "Failed" or (after.losses, after.retries_left) != wanted:
            has = f"{after.losses} losses and {after.retries_left} retries"
            yield f"after attempt {one.ordinal} ({one.status}, {one.cause}) the next has {has}, not {wanted}"
    if (attempts[-1].status, attempts[-1].cause) == ("Failed", "exited") and attempts[-1].retries_left > 0:
        yield "it failed with retries left"


def _logs(job: Planned, attempt: Attempt, facts: Facts, log: Log) -> Iterator[str]:
    """Byte for byte what its ranks have written; of one that was lost, as far as it goes."""
    for life in facts.lives.get(attempt.key, ()):
        text = log(attempt, life.rank)
        begin = first_line(text)
        whole = [line(job.name, life.rank, number) for number in range(begin, begin + life.lines + 1)]
        was_lost = attempt.cause in LOSSES or (attempt.status != "Completed" and life.node in facts.hurt)
        at_least = "" if was_lost else "".join(whole[:-1])
        if facts.was_full(attempt):  # what the disk had no room for was not written, and Python says so
            text, at_least = known(text, "".join(whole)), ""
        if not "".join(whole).startswith(text) or not text.startswith(at_least):
            has = f"its log has {text.count(chr(10))}, the last {text[-200:]!r}"
            yield f"attempt {attempt.ordinal} ({attempt.cause}), rank {life.rank} wrote {life.lines} lines, and {has}"
        elif attempt.status == "Completed" and _has_lines(job, life) and begin + life.lines != lines_of(job):
            yield f"attempt {attempt.ordinal}, rank {life.rank} completed with line {begin + life.lines}"


def known(text: str, whole: str) -> str:
    """How far a text goes as it should."""
    return text[: next((at for at, (a, b) in enumerate(zip(text, whole, strict=False)) if a != b), len(whole))]


def _has_lines(job: Planned, life: ledger.Life) -> bool:
    """One that went on from its last step has nothing left to say."""
    return bool(life.lines) or job.kind.deed != "resume"


def lines_of(job: Planned) -> int:
    return 20 if job.kind.deed == "fail_first" else job.amount


def first_line(log: str) -> int:
    """The number of the first line: a job with a checkpoint goes on from there."""
    words = log.split(maxsplit=5)
    return int(words[4]) if len(words) > 4 and words[4].isdigit() else 0


def read(it: Installation, name: str, attempt: int, rank: int) -> str:
    try:
        pieces = it.workspace.jobs.log(name, attempt=attempt, rank=str(rank), file="std_log.txt")
        return b"".join(pieces).decode()
    except NotFound:
        return ""


def story(it: Installation, name: str) -> str:
    """All that the server knows of a job, for whoever has to understand it."""
    try:
        timeline = [
            f"attempt {row['attempt']}: {row['status']} for {row['seconds']} s {row['reason']}"
            for row in it.workspace.jobs.timeline(name)
        ]
        events = [f"{e['at'][11:23]} {e['event']}: {e['status']} {e['reason']}" for e in it.workspace.jobs.events(name)]
        why = it.workspace.jobs.explain(name)
        return "\n".join([f"-- {name}", *timeline, *events, f"why: {why}", f"ending: {it.job(name)['ending']}"])
    except UltramarineError as error:
        return f"-- {name}: {error}"
