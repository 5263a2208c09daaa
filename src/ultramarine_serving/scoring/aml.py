"""What Azure's packages give to a scoring script that takes requests raw: `rawhttp`, `AMLRequest`, `AMLResponse`.

A script imports them from `azureml.contrib.services`. Where the environment has that package, the package's own are
used; where it has not, these stand in.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, TypeVar
from urllib.parse import parse_qs

Run = TypeVar("Run", bound=Callable[..., object])

_REQUESTS = ("azureml.contrib.services.aml_request", "azureml_inference_server_http.api.aml_request")
_RESPONSES = ("azureml.contrib.services.aml_response", "azureml_inference_server_http.api.aml_response")
_FLAG = "_rawHttpRequested"  # how the packages themselves remember it


class Headers(Mapping[str, str]):
    """Headers by name in whatever case."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._by_name = {name.lower(): (name, value) for name, value in headers.items()}

    def __getitem__(self, name: str) -> str:
        return self._by_name[name.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)


class AMLRequest:
    """A request as flask has it, as far as one without forms and files goes."""

    def __init__(self, method: str, target: str, headers: Mapping[str, str], *, body: bytes) -> None:
        self.method = method
        self.path, _, query = target.partition("?")
        self.full_path = f"{self.path}?{query}"
        self.query_string = query.encode()
        self.args = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
        self.headers = Headers(headers)
        self.data = body
        self.content_type = headers.get("content-type")
        self.content_length = len(body)
        self.mimetype = (self.content_type or "").partition(";")[0].strip().lower()

    @property
    def is_json(self) -> bool:
        return self.mimetype == "application/json" or self.mimetype.endswith("+json")

    @property
    def json(self) -> Any:
        return self.get_json()

    def get_data(self, cache: bool = True, as_text: bool = False, parse_form_data: bool = False) -> bytes | str:
        """The body, as bytes or as text."""
        return self.data.decode("utf-8", "replace") if as_text else self.data

    def get_json(self, force: bool = False, silent: bool = False) -> Any:
        """The body as JSON. None where it does not say that it is, unless forced, or where it is not and may be."""
        if not (force or self.is_json):
            return None
        try:
            return json.loads(self.data)
        except ValueError:
            if silent:
                return None
            raise

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"A raw request has no {name!r} here. With flask in the environment it is flask's own.")


class AMLResponse:
    """An answer with a status and headers. `message` is sent as it is, or as JSON; None is `{}`."""

    def __init__(
        self,
        message: Any,
        status_code: int,
        response_headers: Mapping[str, str] | None = None,
        *,
        json_str: bool = False,
        run_function_failed: bool = False,
    ) -> None:
        self.status_code = status_code
        self.headers: dict[str, str] = {}
        if message is None or json_str:
            message = json.dumps({} if message is None else message)
            self.headers["content-type"] = "application/json"
        self.body: Any = message.encode() if isinstance(message, str) else message
        self.headers.setdefault("content-type", "text/html; charset=utf-8")  # flask's, and so Azure's
        self.headers["x-ms-run-function-failed"] = str(run_function_failed)
        self.headers.update({name.lower(): value for name, value in (response_headers or {}).items()})


def request_of(method: str, target: str, headers: Mapping[str, str], *, body: bytes) -> Any:
    """A raw request for `run()`: flask's own where the environment has flask, as in Azure."""
    try:
        flask: Any = importlib.import_module("flask")
    except ImportError:
        return AMLRequest(method, target, headers, body=body)
    path, _, query = target.partition("?")
    described: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": headers.get("host", "localhost").partition(":")[0],
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
    }
    named = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    return flask.Request({**named, **described})


def offer() -> None:
    """Let a script import Azure's modules although the environment has no such package."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())  # last: a real package is found first


def is_raw_wanted() -> bool:
    """Whether anything was decorated with `rawhttp`."""
    return any(getattr(sys.modules.get(name), _FLAG, False) for name in _REQUESTS)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules above, and the packages around them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        known = (*_REQUESTS, *_RESPONSES)
        is_package = any(name.startswith(f"{fullname}.") for name in known)
        if fullname not in known and not is_package:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=is_package)

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ in _REQUESTS:
            setattr(module, _FLAG, False)

            def rawhttp(run: Run) -> Run:
                setattr(module, _FLAG, True)
                return run

            vars(module).update(rawhttp=rawhttp, AMLRequest=AMLRequest)
        elif module.__name__ in _RESPONSES:
            vars(module).update(AMLResponse=AMLResponse)
