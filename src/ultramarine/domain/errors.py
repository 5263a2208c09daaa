"""Every error that a user can meet, drawn as a tree.

    UltramarineError
    ├── InvalidInput           a field, a file or a reference that cannot be taken
    │   └── NotSupportedYet    Azure ML knows it, Ultramarine does not yet
    ├── NotFound               no such thing here
    ├── AlreadyExists          the name is taken by something else
    ├── IllegalTransition      not possible in the current status
    ├── StaleWrite             somebody else changed it in between
    ├── NotSignedIn            no token, or one that is unknown, expired or revoked
    ├── NotAllowed             the token is good for something else
    ├── TooLarge               over a limit
    ├── Conflict               it would contradict what is there
    ├── DiskFull               the server keeps what is left of its disk for itself
    └── Unavailable            a part that is needed does not answer
        └── StandsBy           another server of the same installation leads, or is about to

`str(error)` says what and why, `error.hint` what to do next. `api/problem.py` alone knows HTTP.
"""

import re
from collections.abc import Collection
from typing import ClassVar


class UltramarineError(Exception):
    """Base of all errors that are written for a person."""

    title: ClassVar[str] = "Something is not as it should be"

    def __init__(self, detail: str, *, hint: str) -> None:
        super().__init__(detail)
        self.hint = hint

    @property
    def code(self) -> str:
        """The stable name of this kind of error, e.g. `not-found`."""
        return code_of(type(self))


def code_of(kind: type[UltramarineError]) -> str:
    """`NotSupportedYet` -> `not-supported-yet`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


class InvalidInput(UltramarineError):
    title = "Something in the request cannot be taken"


class NotSupportedYet(InvalidInput):
    title = "Not supported yet"


class NotFound(UltramarineError):
    title = "There is no such thing"

    def __init__(self, noun: str, name: str, *, hint: str = "", known: Collection[str] = ()) -> None:
        listed = f" There is: {', '.join(sorted(known)[:8])}." if known else ""
        super().__init__(f"There is no {noun} named {name!r}.{listed}", hint=hint or f"um {noun} list")


class AlreadyExists(UltramarineError):
    title = "The name is taken"

    def __init__(self, noun: str, name: str, *, hint: str = "") -> None:
        super().__init__(
            f"A {noun} named {name!r} exists already, with other contents.",
            hint=hint or f"Choose another name, or look at the one that is there: um {noun} show {name}",
        )


#: What people ask for, in their words.
_ASKED = {
    "cancel_asked": "be canceled",
    "delete_asked": "be deleted",
    "change_asked": "be changed",
    "start_asked": "be started",
    "stop_asked": "be stopped",
    "restart_asked": "be restarted",
    "resize_asked": "be resized",
}


class IllegalTransition(UltramarineError):
    title = "Not possible in the current status"

    def __init__(self, noun: str, status: str, event: str, *, allowed: Collection[str]) -> None:
        possible = ", ".join(sorted(allowed)) or "nothing, this status is final"
        what = _ASKED.get(event, f"take {event}")
        super().__init__(f"A {noun} that is {status} cannot {what}.", hint=f"Possible now: {possible}.")


class StaleWrite(UltramarineError):
    title = "It was changed in between"

    def __init__(self, noun: str, name: str) -> None:
        super().__init__(
            f"The {noun} {name!r} was changed by somebody else in between.", hint="Read it again, then try again."
        )


class NotSignedIn(UltramarineError):
    title = "A valid token is needed"


class NotAllowed(UltramarineError):
    title = "Not allowed"


class TooLarge(UltramarineError):
    title = "Too large"


class Conflict(UltramarineError):
    title = "It contradicts what is there"


class DiskFull(UltramarineError):
    title = "The server's disk is full"


class Unavailable(UltramarineError):
    title = "A part that is needed does not answer"


class StandsBy(Unavailable):
    title = "This server stands by"
