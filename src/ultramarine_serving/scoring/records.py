"""From a request and its answer to lines of JSON, in the shape that Azure ML publishes: CloudEvents 1.0."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Callable, cast

from ultramarine_serving.http.server import Request, Response

from .answers import NotJson, encode
from .bodies import Arrays, BadBody, decode
from .tracing import readable, trace_of

AGENT = "ultramarine-scoring/1"
LINE_BYTES_MAX = 1_000_000  #: the data of a record that would be longer is left out, and its line says how large it was
FRAME = "pandas.core.frame.DataFrame"  #: Azure's word for rows with named columns
SECRET_HEADERS = frozenset(("authorization", "proxy-authorization", "cookie", "set-cookie"))  #: never collected
_JSON = "application/json"
_ABOUT_BYTES = 32_768  #: what a line has besides its data, at most: the headers of a request are limited


@dataclass(frozen=True)
class Origin:
    """What is the same in all lines of a server."""

    source: str
    model_version: str
    headers: frozenset[str]  #: of requests and answers, those that are kept with payloads, in lower case


@dataclass(frozen=True)
class Exchange:
    """A request that was answered. `correlation` joins its lines, in all collections."""

    request: Request
    response: Response
    when_s: float
    correlation: str
    collections: frozenset[str]

    @property
    def size(self) -> int:
        """Bytes that it holds on to."""
        return len(self.request.body) + len(_body(self.response))

    def lines(self, origin: Origin) -> list[tuple[str, bytes]]:
        """Collection and line of each record. Only what was answered well has inputs and outputs."""
        event = _Event(self.when_s, self.correlation, trace_of(readable(self.request.headers)))
        readers = {**_PAYLOADS, **(_OF_MODEL if self.response.status == 200 else {})}
        return [
            (name, _line(name, read(self, origin), origin, event))
            for name, read in readers.items()
            if name in self.collections
        ]


@dataclass(frozen=True)
class Frame:
    """What a script collected by itself: its own copy of a pandas frame (None: it was too large)."""

    collection: str
    frame: Any
    size: int
    when_s: float
    correlation: str
    trace: Mapping[str, str]

    def lines(self, origin: Origin) -> list[tuple[str, bytes]]:
        """Collection and line of its record."""
        written = b"" if self.frame is None else encode(self.frame.to_dict(orient="records"))
        data = _Data(written, size=len(written) or self.size, kind=FRAME)
        event = _Event(self.when_s, self.correlation, self.trace)
        return [(self.collection, _line(self.collection, data, origin, event))]


@dataclass(frozen=True)
class _Event:
    when_s: float
    correlation: str
    trace: Mapping[str, str]


@dataclass(frozen=True)
class _Data:
    json: bytes  #: empty where it is left out
    size: int
    kind: str = ""
    content_type: str = _JSON
    key: str = "data"
    more: Mapping[str, object] = field(default_factory=dict[str, object])


def _line(collection: str, data: _Data, origin: Origin, event: _Event) -> bytes:
    fits = 0 < len(data.json) <= LINE_BYTES_MAX - _ABOUT_BYTES
    when = datetime.fromtimestamp(event.when_s, timezone.utc)
    fields: dict[str, object] = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": origin.source,
        "type": f"azureml.inference.{collection}",
        "datacontenttype": data.content_type,
        "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        **data.more,
        "contentrange": f"bytes 0-{max(data.size, 1) - 1}/{data.size}",
        "correlationid": event.correlation,
        "xrequestid": event.trace.get("x-request-id", event.correlation),
        "modelversion": origin.model_version,
        "agent": AGENT,
    }
    if "traceparent" in event.trace:
        fields["traceparent"] = event.trace["traceparent"]
    if data.kind:
        fields["collectdatatype"] = data.kind
    if not fits:
        fields["datatoolarge"] = data.size
    about = json.dumps(fields, separators=(",", ":")).encode()
    return b'%b,"%b":%b}' % (about[:-1], data.key.encode(), data.json if fits else b"null")


def _request(exchange: Exchange, origin: Origin) -> _Data:
    request = exchange.request
    more: dict[str, object] = {"path": request.target[:2048], "method": request.method}
    return _payload(request.body, request.headers, origin, more)


def _response(exchange: Exchange, origin: Origin) -> _Data:
    response = exchange.response
    return _payload(_body(response), response.headers, origin, {"status": response.status})


def _payload(body: bytes, headers: Iterable[tuple[bytes, bytes]], origin: Origin, more: Mapping[str, object]) -> _Data:
    """A body as it was: JSON as JSON, other text as text, all else in base64, as CloudEvents has it."""
    found = readable(headers)
    kept = {name: found[name][:1024] for name in sorted(origin.headers - SECRET_HEADERS) if name in found}
    more = {**more, "headers": kept} if kept else more
    content_type, size = found.get("content-type", _JSON)[:256], len(body)
    if size > LINE_BYTES_MAX:
        return _Data(b"", size, content_type=content_type, more=more)
    try:
        return _Data(encode(json.loads(body) if body else None), size, content_type=content_type, more=more)
    except (ValueError, RecursionError, NotJson):
        pass  # it is no JSON
    try:
        return _Data(json.dumps(body.decode()).encode(), size, content_type=content_type, more=more)
    except UnicodeDecodeError:
        written = b'"%b"' % base64.b64encode(body)
        return _Data(written, size, content_type=content_type, key="data_base64", more=more)


def _inputs(exchange: Exchange, origin: Origin) -> _Data:
    body = exchange.request.body
    if len(body) > LINE_BYTES_MAX:
        return _Data(b"", len(body))
    try:
        given = decode(body).input
    except BadBody:  # of a protocol that is not read here: as it was sent
        return _payload(body, exchange.request.headers, origin, {})
    if isinstance(given, Arrays):
        return _encoded(given.named.get("", given.named), "arrays")
    columns = given.columns or tuple(str(number) for number in range(len(given.rows[0]) if given.rows else 0))
    return _encoded([dict(zip(columns, row)) for row in given.rows], FRAME)


def _outputs(exchange: Exchange, origin: Origin) -> _Data:
    body = _body(exchange.response)
    if len(body) > LINE_BYTES_MAX:
        return _Data(b"", len(body))
    try:
        answered: object = json.loads(body)
    except ValueError:
        return _payload(body, exchange.response.headers, origin, {})
    if isinstance(answered, dict):
        named = cast("dict[str, object]", answered)
        answered = named.get("predictions", named.get("outputs", named))
    if not isinstance(answered, list):
        return _encoded(answered, "")
    return _encoded([_row(one) for one in cast("list[object]", answered)], FRAME)


def _row(prediction: object) -> dict[str, object]:
    if isinstance(prediction, dict):
        return cast("dict[str, object]", prediction)
    if isinstance(prediction, list):
        return {str(number): value for number, value in enumerate(cast("list[object]", prediction))}
    return {"prediction": prediction}


def _encoded(value: object, kind: str) -> _Data:
    written = encode(value)
    return _Data(written, len(written), kind=kind)


def _body(response: Response) -> bytes:
    """What was sent; of an answer that was streamed nothing is kept."""
    return response.body if isinstance(response.body, bytes) else b""


_Reader = Callable[[Exchange, Origin], _Data]
_PAYLOADS: Mapping[str, _Reader] = {"request": _request, "response": _response}
_OF_MODEL: Mapping[str, _Reader] = {"model_inputs": _inputs, "model_outputs": _outputs}
PAYLOADS = frozenset(_PAYLOADS)
OF_MODEL = frozenset(_OF_MODEL)
