"""Scores with a script: `run()` is called for one request at a time, in the worker's thread."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import Mapping

from ultramarine_serving.http.server import Request, Response, problem

from .answers import NotJson
from .bodies import BadBody
from .oip import errors
from .options import Options
from .scorer import Described, bad_request, method_not_allowed, out_of_time
from .script import Call, Script, ScriptError, load
from .smoke import Example, SmokeTestFailed, of_script
from .tracing import readable, words_of
from .turns import Full, Turn, Turns
from .worker import Worker

log = logging.getLogger("scoring")

_RUN_FAILED = (b"x-ms-run-function-failed", b"True")  # Azure's header, by which clients tell whose fault it was


class ScriptScorer:
    """A `Scorer` over a scoring script."""

    def __init__(self, options: Options, worker: Worker) -> None:
        assert options.code is not None
        self._code = options.code
        self._entry = options.entry
        self._is_smoke_tested = options.is_smoke_tested
        self._patience = options.patience
        self._worker = worker
        self._turns: Turns[Response] = Turns(
            _out_of_time, patience=options.patience, waiting_max=options.waiting_max, loop=asyncio.get_running_loop()
        )
        self._script: Script | None = None

    def load(self) -> None:
        script = load(self._code, self._entry)
        script.init()
        self._script = script
        if self._is_smoke_tested and (example := of_script(self._code)):
            self._try(example)

    def describe_failure(self, error: BaseException) -> str:
        if isinstance(error, (ScriptError, SmokeTestFailed)):
            return str(error)
        step = "init()" if _passed(error, "init") else "its import"
        return f"The scoring script {self._entry} failed in {step}: {type(error).__name__}: {error}"

    def score(self, request: Request) -> Response | asyncio.Future[Response]:
        if request.method not in ("POST", "GET"):
            return method_not_allowed(request, b"POST, GET")
        call = Call(
            method=request.method,
            query=request.query,
            headers=readable(request.headers),
            body=request.body,
        )
        try:
            return self._turns.submit(lambda turn: self._worker.submit(lambda: self._answer(call, turn)))
        except Full as full:
            return _out_of_time(full)

    def infer(self, request: Request) -> Response | asyncio.Future[Response]:
        return errors.error(400, "A scoring script takes no tensors: it gets what is posted to /score.")

    def describe(self) -> Described:
        return Described(platform="script", inputs=(), outputs=())

    def overdue_s(self) -> float:
        return max(0.0, self._worker.busy_s - self._patience.call_max_s)

    def where(self) -> str:
        return self._worker.where()

    def schemas(self) -> tuple[Mapping[str, object], Mapping[str, object]]:
        return {}, {}

    def _try(self, example: Example) -> None:
        """Give `run()` the sample request.

        Raises:
            SmokeTestFailed: it raises, or answers an error.
        """
        headers = {"content-type": "application/json", "content-length": str(len(example.body))}
        answer = self._answer(Call(method="POST", query="", headers=headers, body=example.body), Turn())
        if answer.status >= 400:
            assert isinstance(answer.body, bytes)
            raise SmokeTestFailed(f"The scoring script {self._entry}", example.name, _words(answer.body))
        log.info("The scoring script answers its sample request (%s).", example.name)

    def _answer(self, call: Call, turn: Turn) -> Response:
        assert self._script is not None
        turn.begin()
        try:
            reply = self._script.answer(call)
        except BadBody as error:
            return bad_request(str(error))
        except NotJson as error:
            log.error("The value that run() returned cannot be sent%s: %s.", words_of(call.headers), error)
            return _failed(f"The value that run() returned cannot be sent: {error}.")
        except BaseException as error:  # SystemExit too: one request must not end the server
            log.error("run() raised%s:\n%s", words_of(call.headers), traceback.format_exc().rstrip())
            return _failed(f"run() raised {type(error).__name__}.")
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
        return Response(reply.status, headers, reply.body)


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
