"""Azure's contract of a scoring script: `init()` once, then `run(raw_data)` for each request."""

from __future__ import annotations

import importlib.util
import inspect
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast
from urllib.parse import parse_qs

from . import aml
from .aml import request_of
from .bodies import BadBody, text

log = logging.getLogger("scoring")

_HEADERS_ARGUMENT = "request_headers"
_SCHEMAS = "inference_schema.schema_util"


class ScriptError(Exception):
    """The scoring script cannot be used; the message says why and what to change."""


@dataclass(frozen=True)
class Call:
    """One request for the script. Header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Script:
    """A scoring script that was imported but whose `init()` has not run."""

    init: Callable[[], object]  # may be asynchronous
    run: Callable[..., Any]
    parameters: Sequence[inspect.Parameter]  # without request_headers
    wants_headers: bool
    is_raw: bool  # it takes the request itself
    is_schema_decorated: bool  # it takes arguments by name
    is_async: bool

    def answer(self, call: Call) -> Any:
        """What `run()` returns, which may have to be awaited; whatever it raises passes through.

        Raises:
            BadBody: the request does not fit what `run()` takes.
        """
        arguments = self._arguments(call)
        if self.wants_headers:
            arguments[_HEADERS_ARGUMENT] = dict(call.headers)
        return self.run(**arguments)

    def schemas(self) -> tuple[Mapping[str, object], Mapping[str, object]]:
        """JSON schemas of what `run()` takes and returns; empty where its decorators say nothing."""
        if not self.is_schema_decorated:
            return {}, {}
        known: Any = sys.modules[_SCHEMAS]
        needed = [each.name for each in self.parameters if each.default is each.empty]
        asked: Mapping[str, object] = known.get_input_schema(self.run)
        return {**asked, "required": needed} if needed else asked, known.get_output_schema(self.run)

    def _arguments(self, call: Call) -> dict[str, object]:
        if self.is_raw:
            request = request_of(call.method, call.target, call.headers, body=call.body)
            return {self.parameters[0].name: request}
        asked: object = _query(call.target.partition("?")[2]) if call.method == "GET" else None
        if not self.is_schema_decorated:
            return {self.parameters[0].name: json.dumps(asked) if call.method == "GET" else text(call.body)}
        if asked is None:
            asked = _json(call.body)
        return _by_name(asked, self.parameters)


def load(folder: Path, entry: str) -> Script:
    """Import the scoring script.

    Raises:
        ScriptError: there is no such file, or it does not define `init()` and a usable `run()`.
        Exception: whatever the script itself raises.
    """
    path = folder / entry
    if not path.is_file():
        raise ScriptError(f"{folder} holds no {entry}. Set scoring_script to the file's path inside the code folder.")
    os.environ["AZUREML_ENTRY_SCRIPT"] = entry
    for searched in dict.fromkeys((folder, path.parent)):
        sys.path.insert(0, str(searched))
    aml.offer()
    module = _imported(path)
    for name in ("init", "run"):
        if not callable(getattr(module, name, None)):
            raise ScriptError(f"{entry} defines no {name}(). A scoring script has init() and run(raw_data).")
    return _described(module)


def _imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("entry_module", path)
    if spec is None or spec.loader is None:
        raise ScriptError(f"{path.name} is no Python file. Name the scoring script with the ending .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules["entry_module"] = module  # dataclasses and pickle look their module up
    spec.loader.exec_module(module)
    return module


def _described(module: ModuleType) -> Script:
    run: Callable[..., object] = module.run
    taken = list(inspect.signature(run).parameters.values())
    if any(parameter.kind not in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD) for parameter in taken):
        raise ScriptError("run() takes positional-only arguments, *args or **kwargs. Let it take run(raw_data).")
    parameters = [parameter for parameter in taken if parameter.name != _HEADERS_ARGUMENT]
    if not parameters:
        raise ScriptError("run() takes no argument for the data. Let it take run(raw_data).")
    # Only a script that has imported inference_schema can be decorated by it.
    schemas: Any = sys.modules.get(_SCHEMAS)
    is_schema_decorated = bool(schemas and schemas.is_schema_decorated(run))
    if aml.is_raw_wanted() and is_schema_decorated:
        raise ScriptError("run() is decorated with both @rawhttp and @input_schema. Leave one of them out.")
    plain = inspect.unwrap(run)
    return Script(
        init=module.init,
        run=run,
        parameters=parameters,
        wants_headers=len(parameters) < len(taken),
        is_raw=aml.is_raw_wanted(),
        is_schema_decorated=is_schema_decorated,
        is_async=inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain),
    )


def is_unfit(error: BaseException) -> bool:
    """Whether a decorator of inference_schema could not convert what was sent, so that `run()` was never entered."""
    return any(frame.name == "_deserialize_input_argument" for frame in traceback.extract_tb(error.__traceback__))


def _query(query: str) -> dict[str, object]:
    """`a=1&b=[1,2]&c=x` as Azure reads it: each value is JSON where it can be, several of one name are a list."""
    found: dict[str, object] = {}
    for name, values in parse_qs(query, keep_blank_values=True).items():
        read = [_lenient(value) for value in values]
        found[name] = read[0] if len(read) == 1 else read
    return found


def _lenient(value: str) -> object:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):  # RecursionError: it is nested too deeply
        return value


def _json(body: bytes) -> object:
    try:
        return json.loads(text(body))
    except RecursionError as error:
        raise BadBody("The body is nested too deeply. Send an object with the arguments of run().") from error
    except ValueError as error:
        raise BadBody(f"The body is not JSON: {error}. Send an object with the arguments of run().") from error


def _by_name(asked: object, parameters: Sequence[inspect.Parameter]) -> dict[str, object]:
    if not isinstance(asked, dict):
        raise BadBody("The body is no JSON object. Send an object with the arguments of run().")
    given = cast(dict[str, object], asked)
    arguments: dict[str, object] = {}
    for parameter in parameters:
        if parameter.name not in given and parameter.default is parameter.empty:
            raise BadBody(f"A value for {parameter.name!r} is missing. Send an object with the arguments of run().")
        arguments[parameter.name] = given.get(parameter.name, parameter.default)
    return arguments
