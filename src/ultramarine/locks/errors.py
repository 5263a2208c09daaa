"""What can go wrong when packages are resolved, and uv's words about it.

UltramarineError
├── InvalidInput
│   └── Unsolvable         the requirements contradict each other, or what exists
│       ├── UnknownPackage no index has a package of this name
│       ├── Withdrawn      what would do was taken back by who published it
│       └── NoWheel        it is there, but only as source, or for other Pythons or machines
└── Unavailable
    ├── IndexUnreachable   a package index does not answer
    ├── LockTimedOut       no answer before the deadline
    └── LockFailed         uv itself failed
"""

import re
from collections.abc import Sequence

from ultramarine.domain.errors import InvalidInput, UltramarineError, Unavailable

WORDS_MAX = 1200  #: characters of uv's explanation that are shown


class Unsolvable(InvalidInput):
    title = "The requirements cannot be met"


class UnknownPackage(Unsolvable):
    title = "No index has this package"


class Withdrawn(Unsolvable):
    title = "A release was withdrawn"


class NoWheel(Unsolvable):
    title = "No wheel fits"


class IndexUnreachable(Unavailable):
    title = "A package index does not answer"


class LockTimedOut(Unavailable):
    title = "Resolving took too long"


class LockFailed(Unavailable):
    title = "The packages could not be resolved"


_NOT_FOUND = re.compile(r"([\w.\[\]-]+) was not found in the (?:package registry|cache|provided package locations)")
_REQUIRED = re.compile(r"you require (.+?)(?:, we can| we can|\.? And because|\.$)")
#: What uv's words hold -> the error, what it says first, and what to do. The first that fits counts.
_UNSOLVABLE: Sequence[tuple[str, type[Unsolvable], str, str]] = (
    (
        r"no wheels|no usable wheels|building from source is disabled|only-binary",
        NoWheel,
        "Not all of it is there as wheels for this Python and machine.",
        "Allow a newer version, or take another Python; packages that exist as source only are put into a "
        "find-links folder as wheels first.",
    ),
    (
        r"invalid package format|invalid metadata",
        NoWheel,
        "A file of the package index is no wheel that can be read.",
        "Allow another version of it, or tell the owner of the index.",
    ),
    (
        r"\byanked\b",
        Withdrawn,
        "A release among those that are wanted was withdrawn by those who published it.",
        "Allow another version; to take it nevertheless, pin it: `name==version`.",
    ),
    (r"[Bb]ecause\b", Unsolvable, "", "Loosen one of the requirements named above."),
)


def without_secrets(text: str) -> str:
    """URLs without user and password."""
    return re.sub(r"(?<=://)[^/@\s`'\"]+@", "", text)


def trimmed(stderr: str) -> str:
    """uv's explanation as one paragraph, without its drawing, warnings and secrets. Of a long one the end is kept
    (there it says what follows from it), behind all that was required."""
    told: list[str] = []
    for line in without_secrets(stderr).splitlines():
        text = re.sub(r"^[\s×╰─▶├│|>]*(error: |cause: )?", "", line).strip()
        if text and not re.match(r"^(warning|hint|No solution found|Resolved|Using|Resolving)\b", text):
            told.append(text)
    words = " ".join(told)
    if len(words) <= WORDS_MAX:
        return words
    tail = words[-WORDS_MAX:]
    required = dict.fromkeys(each for found in _REQUIRED.findall(words) for each in found.split(" and "))
    named = f"What does not go together: {', '.join(required)[:WORDS_MAX]}. " if required else ""
    return f"{named}… {tail[max(tail.find('And because'), 0) :]}"


def failure(stderr: str) -> UltramarineError:
    """What uv's words amount to."""
    words = trimmed(stderr)
    if re.search(
        r"error sending request|[Ff]ailed to fetch|[Cc]ould not connect|dns error|tcp connect|operation timed out"
        r"|Network connectivity is disabled",
        stderr,
    ):
        hosts = sorted(set(re.findall(r"https?://([^/\s`]+)", without_secrets(stderr))))
        return IndexUnreachable(
            f"The package index{' ' + ', '.join(hosts) if hosts else ''} does not answer: {words}",
            hint="Try again when it does, or point the server's pip.conf (index-url), PIP_INDEX_URL or "
            "UV_DEFAULT_INDEX at one that is reachable.",
        )
    if missing := sorted(set(_NOT_FOUND.findall(words))):
        return UnknownPackage(
            f"No package index of this site has {', '.join(missing)}. {words}",
            hint="Look for a typing error; where it is a private package, name its index in the server's pip.conf "
            "(extra-index-url), with user and password if it asks for them.",
        )
    for pattern, kind, sentence, hint in _UNSOLVABLE:
        if re.search(pattern, words):
            return kind(f"{sentence} {words}".strip(), hint=hint)
    return LockFailed(
        f"uv could not resolve the packages: {words}",
        hint="Correct what uv names above; with it out of the way, create the environment again.",
    )


def warnings(stderr: str) -> tuple[str, ...]:
    """What uv says of a lock that it made: a release that was withdrawn and is pinned, an extra that there is not."""
    lines = without_secrets(stderr).splitlines()
    said = (line.removeprefix("warning:").strip() for line in lines if line.startswith("warning:"))
    return tuple(f"{line[:WORDS_MAX].rstrip('.')}." for line in said)
