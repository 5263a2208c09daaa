"""`um online-deployment rollout`, `um online-deployment rollback`: traffic that moves by itself."""

from typing import Any

from ultramarine.cli.command import ENDPOINT_NAME, FAILED, NAME, NO_WAIT, Call, Command, Option
from ultramarine.domain.errors import InvalidInput

WAIT_S = 30 * 86_400.0  #: a rollout may be told to take weeks
OPTIONS = (
    NAME,
    ENDPOINT_NAME,
    Option("--canary", "percent of the traffic in the first step", "number"),
    Option("--steps", "percent of the traffic, step by step: 10,50,100"),
    Option("--hold", "seconds that each step lasts at least; else 60", "number"),
    Option("--min-requests", "requests to it before a step is called good; else 50", "number"),
    Option("--pause-on", 'figures that return the traffic; else "error_rate>1%%,p99>2x"'),
    NO_WAIT,
)


def rollout(call: Call) -> int | None:
    args, deployments = call.args, call.workspace.online_deployments
    given = {
        "canary": args.canary,
        "steps": None if args.steps is None else _percents(args.steps),
        "hold": args.hold,
        "min_requests": args.min_requests,
        "pause_on": None if args.pause_on is None else [each for each in args.pause_on.split(",") if each.strip()],
    }
    settings = {name: value for name, value in given.items() if value is not None}
    view = deployments.rollout(args.name, args.endpoint_name, settings)
    if args.no_wait:
        call.show(view)
        return None
    with call.talk.spinning(_words(view)) as words:

        def tell(view: dict[str, Any]) -> None:
            words[0] = _words(view)

        view = deployments.wait_rollout(args.endpoint_name, timeout_s=WAIT_S, tell=tell)
    call.talk.say(_words(view))
    call.show(view)
    return None if view["status"] == "Completed" else FAILED


def rollback(call: Call) -> None:
    view = call.workspace.online_deployments.rollback(call.args.endpoint_name)
    shares = ", ".join(f"{name} {share} %" for name, share in view["traffic"].items()) or "nothing to anyone"
    call.talk.say(f"Endpoint {view['name']}: the traffic is as before: {shares}")
    call.show(view)


def _words(view: dict[str, Any]) -> str:
    return f"Rollout of {view['deployment_name']}: {view['status']}. {view['reason']}".strip()


def _percents(text: str) -> list[int]:
    words = [word.strip().removesuffix("%") for word in text.split(",") if word.strip()]
    if bad := [word for word in words if not word.isdigit()]:
        raise InvalidInput(f"--steps: {bad[0]!r} is no percent.", hint="Example: --steps 10,50,100")
    return [int(word) for word in words]


COMMANDS = (
    Command(
        name="rollout",
        summary="Move the traffic to a deployment step by step; bad figures return it.",
        run=rollout,
        options=OPTIONS,
        needs=("name", "endpoint_name"),
        example='um online-deployment rollout -e ENDPOINT -n NAME --steps 10,50,100 --pause-on "error_rate>1%,p99>2x"',
    ),
    Command(
        name="rollback",
        summary="Give the endpoint the traffic that it had before its rollout, or its last change.",
        run=rollback,
        options=(ENDPOINT_NAME,),
        needs=("endpoint_name",),
        example="um online-deployment rollback -e ENDPOINT",
    ),
)
