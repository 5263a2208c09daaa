"""Links that sign a browser in: good once, and for a minute."""

import os
import sys
import webbrowser

from ultramarine.cli.command import Call, Command, Option, of_one

NO_BROWSER = Option("--no-browser", "print the link, open nothing", "switch")


def connect(call: Call) -> None:
    link = call.workspace.computes.connect(call.args.name, application=call.args.application)
    hand_over(call, link, opens=not call.args.no_browser)


def hand_over(call: Call, link: str, *, opens: bool) -> None:
    """Print it, and open it where somebody looks and a browser has a place to appear."""
    if call.args.output or call.args.query:
        call.show({"url": link})
    else:
        call.talk.say("Good once, and for a minute:")
        print(link)
    if opens and call.talk.is_watched and _has_display():
        webbrowser.open(link)


def _has_display() -> bool:
    """Else a browser in the terminal would be opened, which knows no JupyterLab."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


CONNECT: Command = of_one(
    "compute",
    "connect",
    "Open an instance of yours in the browser, signed in: JupyterLab, or an application beside it.",
    run=connect,
    more=(Option("--application", "one of its custom applications, in place of JupyterLab"), NO_BROWSER),
)
