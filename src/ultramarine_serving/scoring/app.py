"""The scoring server: its routes, and its life from loading to the last answer."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import signal
import traceback
from collections.abc import Callable
from enum import Enum, auto

from ultramarine_serving.http.server import Address, Limits, Request, Response, Server, problem, serve
from ultramarine_serving.http.tls import server_context

from . import monitoring
from .collecting import Collector
from .oip.routes import PREFIX, OpenInference
from .options import Options
from .scorer import INVOCATIONS, JSON, Described, Scorer, method_not_allowed
from .swagger import document
from .worker import Worker

log = logging.getLogger("scoring")

EXIT_NOT_LOADED = 3  # as Azure's server: the model or the script's init() failed
EXIT_HANGS = 4  # a call does not come back, and nobody has replaced this process for it
_LOOK_S = 1.0
_SCORED = frozenset({"/score", INVOCATIONS})
_TIMEOUT = b"x-ultramarine-timeout-ms"
_TEXT = ((b"content-type", b"text/plain; charset=utf-8"),)
# Whoever stops us kills after its own grace; this only keeps a forgotten process from staying for ever.
_DRAIN_MAX_S = 3600.0

MakeScorer = Callable[[Options, Worker], Scorer]


class _State(Enum):
    LOADING = auto()
    READY = auto()


class App:
    """Answers requests. Until the scorer is loaded only /health/live and /version do."""

    def __init__(self, options: Options, scorer: Scorer, collector: Collector | None) -> None:
        self._options = options
        self._scorer = scorer
        self._collector = collector
        self._score = scorer.score if collector is None else collector.around(scorer.score)
        self._infer = scorer.infer if collector is None else collector.around(scorer.infer)
        self._state = _State.LOADING
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
        }

    def become_ready(self) -> None:
        """From now on requests are scored."""
        self._swagger = document(self._options, self._scorer)
        self._state = _State.READY

    def handle(self, request: Request) -> Response | asyncio.Future[Response]:
        """The server's handler."""
        path = request.path
        if path in _SCORED:
            self._options.patience.hear(request.header(_TIMEOUT))
            return self._score(request) if self._state is _State.READY else _loading()
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
        if self._state is _State.LOADING:
            return _loading()
        return _overdue() if self._scorer.overdue_s() else None

    def is_alive(self) -> bool:
        """Loading may take as long as it does: whoever sees this fail kills us, and the next would begin anew."""
        return self._state is _State.LOADING or self._scorer.overdue_s() <= self._options.hang_max_s

    def describe(self) -> Described:
        """The model, for the Open Inference Protocol."""
        return self._scorer.describe()

    def infer(self, request: Request) -> Response | asyncio.Future[Response]:
        """Answer one inference of that protocol."""
        self._options.patience.hear(request.header(_TIMEOUT))
        return self._infer(request)

    def _healthy(self, request: Request) -> Response:
        # The gateway's probe asks this: a replica that is still loading must not get traffic, nor one that hangs.
        return self.refusal() or Response(200, _TEXT, b"Healthy")

    def _alive(self, request: Request) -> Response:
        return Response(200, _TEXT, b"Alive") if self.is_alive() else _overdue()

    def _version(self, request: Request) -> Response:
        options = self._options
        shown = {"name": options.name, "version": options.version, "deployment": options.deployment}
        return Response(200, JSON, json.dumps(shown).encode())

    def _describe(self, request: Request) -> Response:
        return Response(200, JSON, self._swagger) if self._state is _State.READY else _loading()

    def _collected(self, request: Request) -> Response:
        figures = {"state": "off"} if self._collector is None else self._collector.figures()
        return Response(200, JSON, json.dumps(figures).encode())


async def run(options: Options, make_scorer: MakeScorer) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    asked = options.collecting
    collector = None if asked is None else Collector(asked, options.version, has_script=options.code is not None)
    monitoring.install(collector)
    try:
        return await _live(options, make_scorer, collector)
    finally:
        if collector is not None:
            collector.close()


async def _live(options: Options, make_scorer: MakeScorer, collector: Collector | None) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    worker = Worker(loop)
    scorer = make_scorer(options, worker)
    app = App(options, scorer, collector)
    limits = Limits(body_max_bytes=options.body_bytes_max, secret=options.secret)
    tls = None if options.tls is None else server_context(options.tls)
    server = await serve(app.handle, listeners=[Address.parse(options.socket)], limits=limits, tls=tls)
    log.info("Listening on %s; loading.", ", ".join(str(address) for address in server.addresses))
    loaded = await _load(scorer, worker, stop)
    if loaded is not None:
        await server.drain(grace_s=0)
        # The last line of the log is what people see first: it says in words what failed.
        log.error("%s", "".join(traceback.format_exception(type(loaded), loaded, loaded.__traceback__)).rstrip())
        log.error("%s", scorer.describe_failure(loaded))
        return EXIT_NOT_LOADED
    if not stop.is_set():
        app.become_ready()
        _settle_memory()
        log.info("Ready.")
        if await _hangs(scorer, options, stop):
            await server.drain(grace_s=0)
            return EXIT_HANGS
    await _end(server)
    return 0


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
            log.error("A call has gone on for %.0f s after its time-out. This replica ends for it.", overdue_s)
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
