"""How a program of the server that cannot do its work says so to who has started it."""

import sys

from ultramarine.domain.errors import UltramarineError

CANNOT = 2  #: exit code: stderr says why, and in its last line what to type


def say(error: UltramarineError) -> int:
    sys.stderr.write(f"{error}\n{error.hint}\n")
    return CANNOT
