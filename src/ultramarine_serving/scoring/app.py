"""The scoring server: its routes, and its life from loading to the last answer."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import signal
import traceback
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ultramarine_serving.http.server import Address, Limits, Request, Response, Server, problem, serve
from ultramarine_serving.http.tls import server_context

from . import monitoring
from .board import State
from .collecting import OFF, Collector, added
from .oip.routes import PREFIX, OpenInference
from .options import EXIT_HANGS, EXIT_NOT_LOADED, Options
from .scorer import INVOCATIONS, JSON, Described, Scorer, method_not_allowed
from .swagger import document
from .worker import Worker

if TYPE_CHECKING:
    from .seat import Seat  # a replica of one process pays nothing for it

log = logging.getLogger("scoring")

_LOOK_S = 1.0
_TELL_S = 0.25
_COLLECTED, _LOAD = "collected", "load"
_SCORED = frozenset({"/score", INVOCATIONS})
_TIMEOUT = b"x-ultramarine-timeout-ms"
_TEXT = ((b"content-type", b"text/plain; charset=utf-8"),)
# Whoever stops us kills after its own grace; this only keeps a forgotten process from staying for ever.
_DRAIN_MAX_S = 3600.0

MakeScorer = Callable[[Options, Worker], Scorer]


class App:
    """Answers requests. Until the scorer is loaded only /health/live and /version do.

    With a `seat` it is one of several workers: what it says of health is then the replica's.
    """

    def __init__(
        self, options: Options, scorer: Scorer, collector: Collector | None, *, seat: Seat | None = None
    ) -> None:
        self.options = options
        self._seat = seat
        self._scorer = scorer
        self._collector = collector
        self._score = scorer.score if collector is None else collector.around(scorer.score)
        self._infer = scorer.infer if collector is None else collector.around(scorer.infer)
        self._is_ready = False
        self._swagger = b""
        self._oip = OpenInference(self, name=options.name, version=options.version)
        self._routes: dict[str, Callable[[Request], Response]] = {
            "/": self._healthy,
            "/ping": self._healthy,
            "/health/ready": self._healthy,
            "/health/live": self._alive,
            "/version": self._version,
            "/swagger.json": self._describe,
            "/collected": self._collected,
            "/load": self._load_now,
        }

    def become_ready(self) -> None:
        """From now on requests are scored."""
        self._swagger = document(self.options, self._scorer)
        self._is_ready = True

    @property
    def state(self) -> State:
        """Its own."""
        if not self._is_ready:
            return State.LOADING
        overdue_s = self._scorer.overdue_s()
        if overdue_s > self.options.hang_max_s:
            return State.HANGS
        return State.OVERDUE if overdue_s else State.READY

    def handle(self, request: Request) -> Response | asyncio.Future[Response]:
        """The server's handler."""
        path = request.path
        if path in _SCORED:
            self.options.patience.hear(request.header(_TIMEOUT))
            return self._score(request) if self._is_ready else _loading()
        route = self._routes.get(path)
        if route is None and (path == PREFIX or path.startswith(PREFIX + "/")):
            return self._oip.handle(request)
        if route is None:
            known = ", ".join(sorted(["/score", INVOCATIONS, *self._routes]))
            return problem(404, "Not found", f"There is nothing at {path}.", hint=f"Known: {known}.")
        if request.method not in ("GET", "HEAD"):
            return method_not_allowed(request, ("GET", "HEAD"))
        return route(request)

    def refusal(self) -> Response | None:
        """Why no request should come here, as a problem; None when they may."""
        state, seat = self.state, self._seat
        if seat is not None and not seat.is_open:
            return _loading()
        if state is State.READY or (seat is not None and seat.is_another_well):
            return None
        return _loading() if state is State.LOADING else _overdue()

    def is_alive(self) -> bool:
        """Loading may take as long as it does: whoever sees this fail kills us, and the next would begin anew."""
        return self.state is not State.HANGS or (self._seat is not None and self._seat.is_another_alive)

    def figures(self) -> Mapping[str, object]:
        """Its own."""
        collected = OFF if self._collector is None else self._collector.figures()
        return {_COLLECTED: collected, _LOAD: asdict(self._scorer.load_now())}

    def describe(self) -> Described:
        """The model, for the Open Inference Protocol."""
        return self._scorer.describe()

    def infer(self, request: Request) -> Response | asyncio.Future[Response]:
        """Answer one inference of that protocol."""
        self.options.patience.hear(request.header(_TIMEOUT))
        return self._infer(request)

    def _healthy(self, request: Request) -> Response:
        # The gateway's probe asks this: a replica that is still loading must not get traffic, nor one that hangs.
        return self.refusal() or Response(200, _TEXT, b"Healthy")

    def _alive(self, request: Request) -> Response:
        return Response(200, _TEXT, b"Alive") if self.is_alive() else _overdue()

    def _version(self, request: Request) -> Response:
        options = self.options
        shown = {"name": options.name, "version": options.version, "deployment": options.deployment}
        return Response(200, JSON, json.dumps(shown).encode())

    def _describe(self, request: Request) -> Response:
        return Response(200, JSON, self._swagger) if self._is_ready else _loading()

    def _collected(self, request: Request) -> Response:
        return Response(200, JSON, json.dumps(added(self._of_all(_COLLECTED))).encode())

    def _load_now(self, request: Request) -> Response:
        each = self._of_all(_LOAD)
        load = {name: sum(load[name] for load in each) for name in each[0]}
        return Response(200, JSON, json.dumps({"workers": len(each), **load}).encode())

    def _of_all(self, figure: str) -> Sequence[Mapping[str, Any]]:
        """Of all workers that have told it: its own now, those of the others at most a moment ago."""
        others = () if self._seat is None else self._seat.figures_of_others()
        told: list[Mapping[str, Any]] = [self.figures(), *others]
        return [each[figure] for each in told if figure in each]


async def run(options: Options, make_scorer: MakeScorer, seat: Seat | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. `seat`: of one of several workers."""
    asked = options.collecting
    collector = None if asked is None else Collector(asked, options.version, has_script=options.code is not None)
    monitoring.install(collector)
    try:
        return await _live(options, make_scorer, collector, seat=seat)
    finally:
        if collector is not None:
            collector.close()


async def _live(options: Options, make_scorer: MakeScorer, collector: Collector | None, *, seat: Seat | None) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    worker = Worker(loop)
    scorer = make_scorer(options, worker)
    app = App(options, scorer, collector, seat=seat)
    limits = Limits(body_max_bytes=options.body_bytes_max, secret=options.secret)
    tls = None if options.tls is None else server_context(options.tls)
    listener = Address.parse(options.socket) if seat is None else seat.share()
    server = await serve(app.handle, listeners=[listener], limits=limits, tls=tls)
    if seat is None:
        log.info("Listening on %s; loading.", ", ".join(str(address) for address in server.addresses))
    async with _telling(seat, app, server):
        loaded = await _load(scorer, worker, stop)
        if loaded is None:
            return await _answer(app, scorer, server, stop=stop)
        await server.drain(grace_s=0)
    # The last line of the log is what people see first: it says in words what failed.
    log.error("%s", "".join(traceback.format_exception(type(loaded), loaded, loaded.__traceback__)).rstrip())
    words = scorer.describe_failure(loaded)
    log.error("%s", words)
    if seat is not None:
        seat.tell_failure(words)
    return EXIT_NOT_LOADED


async def _answer(app: App, scorer: Scorer, server: Server, *, stop: asyncio.Event) -> int:
    if not stop.is_set():
        app.become_ready()
        _settle_memory()
        log.info("Ready.")
        if await _hangs(scorer, app.options, stop):
            await server.drain(grace_s=0)
            return EXIT_HANGS
    await _end(server)
    return 0


@contextlib.asynccontextmanager
async def _telling(seat: Seat | None, app: App, server: Server) -> AsyncGenerator[None, None]:
    """Meanwhile the other workers are told how this one is, if there are any."""
    if seat is None:
        yield
        return
    telling = asyncio.ensure_future(_tell(seat, app, server))
    try:
        yield
    finally:
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling


async def _tell(seat: Seat, app: App, server: Server) -> None:
    """One that cannot answer leaves connections to those that can; where nobody can, it says why."""
    options = app.options
    while True:
        silence_max_s = options.patience.call_max_s + 2 * options.hang_max_s
        seat.tell(app.state, connections=server.connections, silence_max_s=silence_max_s, figures=app.figures())
        if app.state is State.READY or not seat.is_another_well:
            server.resume()
        else:
            server.pause()
        await asyncio.sleep(_TELL_S)


async def _hangs(scorer: Scorer, options: Options, stop: asyncio.Event) -> bool:
    """Wait until we are asked to stop: False; or until a call has gone on for so long that only an end helps: True."""
    step_s = min(_LOOK_S, options.hang_max_s / 4)
    is_told = False
    while not stop.is_set():
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stop.wait(), step_s)
        overdue_s = scorer.overdue_s()
        if overdue_s and not is_told:
            log.error("A call goes on after its time-out; until it returns nothing is answered. %s", scorer.where())
        is_told = overdue_s > 0
        if overdue_s > 2 * options.hang_max_s:
            log.error("%s", scorer.where())
            log.error("A call has gone on for %.0f s after its time-out. This process ends for it.", overdue_s)
            return True
    return False


async def _load(scorer: Scorer, worker: Worker, stop: asyncio.Event) -> BaseException | None:
    """Load, unless asked to stop before that is done. What went wrong, if anything."""
    loading = worker.submit(scorer.load)
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait([loading, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    return loading.exception() if loading.done() else None


async def _end(server: Server) -> None:
    log.info("Stopping: %d connections are open.", server.connections)
    await server.drain(_DRAIN_MAX_S)
    log.info("Stopped.")


def _settle_memory() -> None:
    """Libraries and model stay as they are: never look through them again.

    A full collection over some 300,000 objects of scikit-learn and pandas stops the server for 50 to 100 ms.
    """
    gc.collect()
    gc.freeze()


def _overdue() -> Response:
    return problem(
        503,
        "Not healthy",
        "A call goes on after its time-out.",
        hint="The deployment's log says where it is. A replica whose call does not come back is replaced.",
        headers=[(b"retry-after", b"1")],
    )


def _loading() -> Response:
    return problem(
        503,
        "Not ready",
        "The model is being loaded.",
        hint="Try again in a moment; /health/ready answers 200 when it is done.",
        headers=[(b"retry-after", b"1")],
    )
