"""Scores with a script: `init()` once, `run()` for each request."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from typing import Any, cast

from ultramarine_serving.http.server import Request, Response, problem

from . import monitoring
from .answers import NotJson
from .bodies import BadBody
from .coroutines import Coroutines
from .oip import errors
from .options import Options
from .replies import END, Reply, reply_of, streamed
from .scorer import Described, Load, bad_request, method_not_allowed, out_of_time
from .script import Call, Script, ScriptError, is_unfit, load
from .smoke import Example, SmokeTestFailed, of_script
from .tracing import readable, words_of
from .turns import Full, Turn, Turns
from .worker import Worker

log = logging.getLogger("scoring")

_RUN_FAILED = (b"x-ms-run-function-failed", b"True")  # Azure's header, by which clients tell whose fault it was
_ECHOED = ("x-request-id", "x-ms-client-request-id")
_METHODS = ("POST", "GET")
_RAW_METHODS = (*_METHODS, "OPTIONS")
_CANCELLED_WITHIN_S = 1.0  # a call whose time is over is cancelled, which an asynchronous one obeys at once


class ScriptScorer:
    """A `Scorer` over a scoring script.

    A plain `run()` is called for one request at a time in the worker's thread, an asynchronous one in its own loop.
    """

    def __init__(self, options: Options, worker: Worker) -> None:
        assert options.code is not None
        self._code = options.code
        self._entry = options.entry
        self._is_smoke_tested = options.is_smoke_tested
        self._concurrent_max = options.concurrent_max
        self._patience = options.patience
        self._worker = worker
        self._coroutines: Coroutines | None = None
        self._loop = asyncio.get_running_loop()
        self._turns: Turns[Response] = Turns(
            _out_of_time, patience=options.patience, waiting_max=options.waiting_max, loop=self._loop
        )
        self._script: Script | None = None

    def load(self) -> None:
        script = load(self._code, self._entry)
        if script.is_async:
            self._coroutines = Coroutines(self._loop, concurrent_max=self._concurrent_max)
        made = script.init()
        if inspect.isawaitable(made):
            self._await(made)
        self._script = script
        if self._is_smoke_tested and (example := of_script(self._code)):
            self._try(example)

    def describe_failure(self, error: BaseException) -> str:
        if isinstance(error, (ScriptError, SmokeTestFailed)):
            return str(error)
        step = "init()" if _passed(error, "init") else "its import"
        return f"The scoring script {self._entry} failed in {step}: {type(error).__name__}: {error}"

    @property
    def methods(self) -> Sequence[str]:
        return _RAW_METHODS if self._script is not None and self._script.is_raw else _METHODS

    def score(self, request: Request) -> Response | asyncio.Future[Response]:
        if request.method not in self.methods:
            return method_not_allowed(request, self.methods)
        call = Call(
            method=request.method,
            target=request.target,
            headers=readable(request.headers),
            body=request.body,
        )
        coroutines = self._coroutines
        try:
            if coroutines is None:
                return self._turns.submit(lambda turn: self._worker.submit(lambda: self._answer(call, turn)))
            return self._turns.submit(lambda turn: coroutines.submit(lambda: self._answer_async(call, turn)))
        except Full as full:
            return _out_of_time(full)

    def infer(self, request: Request) -> Response | asyncio.Future[Response]:
        return errors.error(400, "A scoring script takes no tensors: it gets what is posted to /score.")

    def describe(self) -> Described:
        return Described(platform="script", inputs=(), outputs=())

    def load_now(self) -> Load:
        waiting, in_work = self._turns.waiting_and_begun()
        return Load(self._turns.count, self._turns.count - waiting, waiting, in_work)

    def overdue_s(self) -> float:
        if self._coroutines is None:
            return max(0.0, self._worker.busy_s - self._patience.call_max_s)
        return max(0.0, self._coroutines.busy_s - self._patience.call_max_s - _CANCELLED_WITHIN_S)

    def where(self) -> str:
        return self._worker.where() if self._coroutines is None else self._coroutines.where()

    def schemas(self) -> tuple[Mapping[str, object], Mapping[str, object]]:
        assert self._script is not None
        return self._script.schemas()

    def _try(self, example: Example) -> None:
        """Give `run()` the sample request.

        Raises:
            SmokeTestFailed: it raises, or answers an error.
        """
        headers = {"content-type": "application/json", "content-length": str(len(example.body))}
        call = Call(method="POST", target="/score", headers=headers, body=example.body)
        if self._coroutines is None:
            answer = self._answer(call, Turn())
        else:
            answer = self._coroutines.wait(lambda: self._answer_async(call, Turn()))
        if answer.status >= 400:
            assert isinstance(answer.body, bytes)
            raise SmokeTestFailed(f"The scoring script {self._entry}", example.name, _words(answer.body))
        log.info("The scoring script answers its sample request (%s).", example.name)

    def _await(self, made: Awaitable[object]) -> None:
        async def done() -> object:
            return await made

        if self._coroutines is None:
            asyncio.run(done())
        else:
            self._coroutines.wait(done)

    def _answer(self, call: Call, turn: Turn) -> Response:
        """Call a plain `run()`, in the worker's thread."""
        assert self._script is not None
        turn.begin()
        try:
            with monitoring.request_of(call.headers):
                reply = reply_of(self._script.answer(call))
            if isinstance(reply.body, bytes):
                return _whole(reply, call)
            if not isinstance(reply.body, Iterator):
                raise TypeError("run() returned an asynchronous iterator. Write async def run().")
            parts = reply.body
            first = next(parts, END)
        except BaseException as error:  # SystemExit too: one request must not end the server
            return _failure(error, call)
        return streamed(
            Reply(reply.status, [*reply.headers, *_ids(call)], parts),
            first,
            accept=call.headers.get("accept", ""),
            pull=lambda: self._worker.submit(lambda: next(parts, END)),
            close=lambda: self._worker.submit(getattr(parts, "close", _nothing)),
        )

    async def _answer_async(self, call: Call, turn: Turn) -> Response:
        """Call an asynchronous `run()`, in its loop."""
        assert self._script is not None
        coroutines = self._coroutines
        assert coroutines is not None
        turn.begin()
        try:
            with monitoring.request_of(call.headers):
                returned = self._script.answer(call)
                reply = reply_of(await returned if inspect.isawaitable(returned) else returned)
            if isinstance(reply.body, bytes):
                return _whole(reply, call)
            parts = reply.body
            first = await _following(parts)
        except asyncio.CancelledError:  # its time is over, or its client has gone
            raise
        except BaseException as error:
            return _failure(error, call)
        return streamed(
            Reply(reply.status, [*reply.headers, *_ids(call)], parts),
            first,
            accept=call.headers.get("accept", ""),
            pull=lambda: coroutines.step(lambda: _following(parts)),
            close=lambda: coroutines.step(lambda: _ended(parts)),
        )


async def _following(parts: Iterator[object] | AsyncIterator[object]) -> object:
    if isinstance(parts, Iterator):
        return next(parts, END)
    try:
        return await parts.__anext__()
    except StopAsyncIteration:
        return END


async def _ended(parts: Iterator[object] | AsyncIterator[object]) -> None:
    if isinstance(parts, Iterator):
        getattr(parts, "close", _nothing)()
    elif hasattr(parts, "aclose"):
        await cast(Any, parts).aclose()


def _nothing() -> None:
    pass


def _whole(reply: Reply, call: Call) -> Response:
    assert isinstance(reply.body, bytes)
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (*reply.headers, *_ids(call))]
    return Response(reply.status, headers, reply.body)


def _ids(call: Call) -> list[tuple[str, str]]:
    """The headers by which a client finds its answer again, as Azure's server sends them back."""
    return [(name, call.headers[name]) for name in _ECHOED if name in call.headers]


def _failure(error: BaseException, call: Call) -> Response:
    if isinstance(error, BadBody):
        return bad_request(str(error))
    if is_unfit(error):
        return bad_request(f"The data does not fit what run() takes: {error}")
    if isinstance(error, NotJson):
        log.error("The value that run() returned cannot be sent%s: %s.", words_of(call.headers), error)
        answer = _failed(f"The value that run() returned cannot be sent: {error}.")
    else:
        written = traceback.format_exception(type(error), error, error.__traceback__)
        log.error("run() raised%s:\n%s", words_of(call.headers), "".join(written).rstrip())
        answer = _failed(f"run() raised {type(error).__name__}.")
    answer.headers = [*answer.headers, *((name.encode(), value.encode("latin-1")) for name, value in _ids(call))]
    return answer


def _out_of_time(error: BaseException) -> Response:
    answer = out_of_time(error)
    assert answer is not None, "no other error is refused here"
    return answer


def _failed(detail: str) -> Response:
    hint = "The traceback is in the deployment's log."
    return problem(500, "The scoring script failed", detail, hint=hint, headers=[_RUN_FAILED])


def _words(body: bytes) -> str:
    """What an answer that is an error says: the detail of a problem, or its first line."""
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace").partition("\n")[0][:500]


def _passed(error: BaseException, function: str) -> bool:
    """Whether the error came through a function of this name in the script."""
    return any(frame.name == function for frame in traceback.extract_tb(error.__traceback__))
