"""`um event …`"""

from ultramarine.cli.command import INTERRUPTED, Call, Command, Group, Option
from ultramarine.cli.output import Column

NOUN = Option("--noun", "only those of this noun: job, compute, deployment …")
AFTER = Option("--after", "only those after the event of this number", "number")
COLUMNS = (
    Column("seq", "seq"),
    Column("at", "at"),
    Column("noun", "noun"),
    Column("name", "name"),
    Column("event", "event"),
    Column("status", "status"),
    Column("reason", "reason"),
)


def list_(call: Call) -> None:
    call.show(
        call.workspace.events.list(noun=call.args.noun or "", name=call.args.name or "", after=call.args.after), COLUMNS
    )


def stream(call: Call) -> int:
    try:
        for event in call.workspace.events.stream(noun=call.args.noun or "", after=call.args.after):
            one = event.data
            print(
                f"{one['at']}  {one['noun']} {one['name']}: {one['status']}"
                + (f": {one['reason']}" if one["reason"] else ""),
                flush=True,
            )
    except KeyboardInterrupt:
        call.talk.say("")
    return INTERRUPTED


GROUP = Group(
    noun="event",
    summary="Events: what has happened.",
    commands=(
        Command(
            name="list",
            summary="List events, the oldest first.",
            run=list_,
            options=(NOUN, Option("--name -n", "only those of the thing of this name", is_bare=True), AFTER),
        ),
        Command(name="stream", summary="Print events as they happen.", run=stream, options=(NOUN, AFTER)),
    ),
)
