"""Scores with an MLflow model: rows of waiting requests are put together where the model allows it."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ultramarine_serving.http.server import Request, Response, problem

from . import onnx_path
from .answers import NotJson, bodies_of, slices_of
from .batching import Batcher, Limits
from .bodies import CONTENT_TYPES, Arrays, BadBody, Body, Reader, Table
from .mlmodel import MLModelError
from .model import Model, load
from .oip import inputs, messages, tensors
from .oip.errors import of_problem
from .options import Options
from .schemas import asked as schema_asked
from .scorer import INVOCATIONS, JSON, Described, Load, bad_request, method_not_allowed, out_of_time
from .smoke import Example, SmokeTestFailed, of_model
from .tracing import readable, words_of
from .turns import Full
from .worker import Worker

log = logging.getLogger("scoring")

# What a model raises when it cannot use the values it was given (a NaN, a text for a number). Anything else is the
# model's own failure, which health checks must be able to tell from a client's mistake.
_VALUES_REFUSED = (ValueError, TypeError, KeyError)
_NO_LIMIT = 1_000_000


@dataclass(frozen=True)
class Form:
    """How the answers of one route are written."""

    parts: Callable[[Any, Sequence[int]], Sequence[Any]]  # the predictions of one call, for each of its requests
    sent: Callable[[Any], Response]  # of such a part
    refused: Callable[[Response], Response] = lambda problem: problem


class Asked(NamedTuple):
    """One request, decoded."""

    input: Table | Arrays
    params: Mapping[str, object]
    form: Form
    headers: Sequence[tuple[bytes, bytes]] = ()


class ModelScorer:
    """A `Scorer` over an MLflow model."""

    def __init__(self, options: Options, worker: Worker) -> None:
        self._folder = options.model_dir
        self._flavor = options.flavor
        self._options = options
        self._worker = worker
        self._model: Model | None = None
        self._reader = Reader()  # for the model's columns, once they are known
        self._batcher: Batcher[Asked, Response] | None = None
        self._seen_outputs: inputs.Metadata = ()  # when the model answered its example
        self._loop = asyncio.get_running_loop()

    def load(self) -> None:
        options = self._options
        onnx = onnx_path.of(options)
        model = (onnx and onnx.kept()) or load(self._folder, flavor=self._flavor)
        self._model = model
        self._reader = Reader(model.shape.names, are_floats=model.shape.dtype == "float64")
        limits = Limits(
            rows_max=options.batch_rows_max,
            requests_max=min(options.batch_rows_max, options.concurrent_max or _NO_LIMIT) if model.is_row_wise else 1,
            waiting_max=options.waiting_max,
            inline_max_s=options.inline_max_s,
            patience=options.patience,
        )
        self._batcher = Batcher(self._answer, _refused, limits=limits, worker=self._worker, loop=self._loop)
        if options.is_smoke_tested and (example := of_model(self._folder)):
            self._try(example)
        if onnx is not None:
            onnx.make(self._change_to)
        kind = "requests share calls" if limits.requests_max > 1 else "one request a call"
        log.info("Loaded the %s flavour of %s; %s.", model.flavor, self._folder.name, kind)

    def _change_to(self, model: Model) -> None:
        """From its next call on. Called in another thread: one assignment, and both take the same tables."""
        self._model = model

    def describe_failure(self, error: BaseException) -> str:
        if isinstance(error, (MLModelError, SmokeTestFailed)):
            return str(error)
        return f"The model in {self._folder} could not be loaded: {type(error).__name__}: {error}"

    @property
    def methods(self) -> Sequence[str]:
        return ("POST",)

    def score(self, request: Request) -> Response | asyncio.Future[Response]:
        if request.method != "POST":
            return method_not_allowed(request, self.methods)
        if refusal := _wrong_type(request):
            return refusal
        assert self._model is not None
        assert self._batcher is not None
        form = _PREDICTIONS if request.path == INVOCATIONS else _BARE
        try:
            asked = self._decoded(request.body, form, request.headers)
            table = asked.input if isinstance(asked.input, Table) else None
            return self._batcher.submit(
                asked,
                # Arrays and params are never put together with others: each is a kind of its own.
                kind=table.columns if table is not None and not asked.params else object(),
                rows=len(table.rows) if table is not None else 1,
            )
        except (BadBody, Full) as error:
            return _refusal(error)

    def infer(self, request: Request) -> Response | asyncio.Future[Response]:
        assert self._model is not None
        assert self._batcher is not None
        try:
            if request.header(b"content-encoding", b"identity") != b"identity":
                raise BadBody("A compressed body is not read here.")
            inference = messages.read(request.body, request.header(messages.HEADER_LENGTH))
            params: Mapping[str, object] = inference.params if self._model.takes_params else {}
            asked = inputs.input_of(inference.inputs, self._model.shape)
            asked = self._model.input_of(Body(input=asked, params=params))
            table = asked if isinstance(asked, Table) else None
            return self._batcher.submit(
                Asked(input=asked, params=params, form=self._tensor_form(inference), headers=request.headers),
                kind=inputs.kind_of(table) if table is not None and not params else object(),
                rows=len(table.rows) if table is not None else 1,
            )
        except (BadBody, Full) as error:
            return of_problem(_refusal(error))

    def describe(self) -> Described:
        assert self._model is not None
        shape = self._model.shape
        outputs = self._seen_outputs or inputs.metadata_of_outputs(shape.outputs)
        return Described(f"mlflow-{self._model.flavor}", inputs.metadata_of_inputs(shape), outputs)

    def load_now(self) -> Load:
        made = self._batcher
        return Load() if made is None else Load(made.requests, made.calls, made.waiting, made.in_work)

    def overdue_s(self) -> float:
        return max(0.0, self._worker.busy_s - self._options.patience.call_max_s)

    def where(self) -> str:
        return self._worker.where()

    def schemas(self) -> tuple[Mapping[str, object], Mapping[str, object]]:
        assert self._model is not None
        return schema_asked(self._model.shape), {"type": "array", "items": {}} if self._model.is_row_wise else {}

    def _decoded(self, body: bytes, form: Form, headers: Sequence[tuple[bytes, bytes]] = ()) -> Asked:
        assert self._model is not None
        read = self._reader.read(body)
        return Asked(self._model.input_of(read), read.params, form, headers)

    def _answer(self, asked: Sequence[Asked]) -> Sequence[Response]:
        """Those of one call are of one kind, so that all take parts of the same sort."""
        assert self._model is not None
        first = asked[0]
        if len(asked) == 1:
            counts, together = [1], first.input
        else:
            tables = [one.input for one in asked if isinstance(one.input, Table)]
            counts, together = [len(table.rows) for table in tables], inputs.together(tables)
        parts = first.form.parts(self._model.answer(together, first.params), counts)
        return [one.form.sent(part) for one, part in zip(asked, parts)]

    def _tensor_form(self, inference: messages.Inference) -> Form:
        options = self._options

        def sent(predictions: Any) -> Response:
            named = self._named(predictions)
            return messages.answer(inference, named, model=options.name, version=options.version)

        return Form(parts=slices_of, sent=sent, refused=of_problem)

    def _named(self, predictions: Any) -> dict[str, Any]:
        assert self._model is not None
        promised = self._model.shape.outputs
        only = promised[0].name if len(promised) == 1 else ""
        return tensors.named(predictions, only or inputs.OUTPUT)

    def _try(self, example: Example) -> None:
        """Answer the model's own example. Its first client does not wait for lazy imports then, either.

        Raises:
            SmokeTestFailed: it cannot.
        """
        assert self._model is not None
        try:
            asked = self._decoded(example.body, _BARE)
            predictions = self._model.answer(asked.input, asked.params)
            asked.form.parts(predictions, [1])
            self._seen_outputs = inputs.metadata_of_arrays(self._named(predictions))
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise SmokeTestFailed(f"The model in {self._folder}", example.name, why) from error
        log.info("The model answers its own example (%s).", example.name)


def _refused(asked: Asked, error: BaseException) -> Response:
    return asked.form.refused(_refusal(error, asked.headers))


def _refusal(error: BaseException, headers: Sequence[tuple[bytes, bytes]] = ()) -> Response:
    if (answer := out_of_time(error)) is not None:
        return answer
    if isinstance(error, BadBody):
        return bad_request(str(error))
    if isinstance(error, _VALUES_REFUSED):
        return bad_request(f"The model cannot use these values: {error}")
    written = traceback.format_exception(type(error), error, error.__traceback__)
    log.error("The model failed%s:\n%s", words_of(readable(headers)), "".join(written).rstrip())
    what = (
        f"Its answer cannot be sent: {error}." if isinstance(error, NotJson) else f"It raised {type(error).__name__}."
    )
    return problem(500, "The model failed", what, hint="The traceback is in the deployment's log.")


def _wrong_type(request: Request) -> Response | None:
    """415 unless the body says it is JSON in UTF-8, or says nothing."""
    sent = request.header(b"content-type")
    if not sent or sent == b"application/json":  # quick for what nearly all send
        return None
    written = sent.decode("latin-1").lower()
    kind, *parameters = [part.strip() for part in written.split(";")]
    charsets = [part[len("charset=") :].strip('"') for part in parameters if part.startswith("charset=")]
    if kind in CONTENT_TYPES and set(charsets) <= {"utf-8", "utf8"}:
        return None
    known = ", ".join(CONTENT_TYPES)
    detail = f"The content type {written!r} is not known here."
    return problem(415, "Content type not known", detail, hint=f"Send one of: {known} (UTF-8).")


_BARE = Form(parts=bodies_of, sent=lambda body: Response(200, JSON, body))
_PREDICTIONS = Form(parts=bodies_of, sent=lambda body: Response(200, JSON, b'{"predictions":%b}' % body))
