"""What can go wrong when packages are resolved, and uv's words about it.

UltramarineError
├── InvalidInput
│   └── Unsolvable         the requirements contradict each other, or what exists
│       ├── UnknownPackage no index has a package of this name
│       └── NoWheel        it is there, but only as source, or for other Pythons or machines
└── Unavailable
    ├── IndexUnreachable   a package index does not answer
    ├── LockTimedOut       no answer before the deadline
    └── LockFailed         uv itself failed
"""

import re

from ultramarine.domain.errors import InvalidInput, UltramarineError, Unavailable

WORDS_MAX = 1200  #: characters of uv's explanation that are shown


class Unsolvable(InvalidInput):
    title = "The requirements cannot be met"


class UnknownPackage(Unsolvable):
    title = "No index has this package"


class NoWheel(Unsolvable):
    title = "No wheel fits"


class IndexUnreachable(Unavailable):
    title = "A package index does not answer"


class LockTimedOut(Unavailable):
    title = "Resolving took too long"


class LockFailed(Unavailable):
    title = "The packages could not be resolved"


def without_secrets(text: str) -> str:
    """URLs without user and password."""
    return re.sub(r"(?<=://)[^/@\s`'\"]+@", "", text)


def trimmed(stderr: str) -> str:
    """uv's explanation as one paragraph, without its drawing, warnings and secrets. Of a long one the end is kept:
    there it says what follows from it."""
    told: list[str] = []
    for line in without_secrets(stderr).splitlines():
        text = re.sub(r"^[\s×╰─▶├│|>]*(error: |cause: )?", "", line).strip()
        if text and not re.match(r"^(warning|hint|No solution found|Resolved|Using|Resolving)\b", text):
            told.append(text)
    words = " ".join(told)
    if len(words) <= WORDS_MAX:
        return words
    tail = words[-WORDS_MAX:]
    return f"… {tail[max(tail.find('And because'), 0) :]}"


def failure(stderr: str) -> UltramarineError:
    """What uv's words amount to."""
    words = trimmed(stderr)
    missing = sorted(
        set(
            re.findall(
                r"([\w.\[\]-]+) was not found in the (?:package registry|cache|provided package locations)", words
            )
        )
    )
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
    if missing:
        return UnknownPackage(
            f"No package index of this site has {', '.join(missing)}. {words}",
            hint="Look for a typing error; where it is a private package, name its index in the server's pip.conf "
            "(extra-index-url).",
        )
    if re.search(
        r"no wheels|no usable wheels|building from source is disabled|only-binary",
        words,
    ):
        return NoWheel(
            f"Not all of it is there as wheels for this Python and machine. {words}",
            hint="Allow a newer version, or take another Python; packages that exist as source only are put into a "
            "find-links folder as wheels first.",
        )
    if "No solution found" in stderr or "Because" in words:
        return Unsolvable(words, hint="Loosen one of the requirements named above, and create the environment again.")
    return LockFailed(
        f"uv could not resolve the packages: {words}",
        hint="Correct what uv names above; with it out of the way, create the environment again.",
    )
