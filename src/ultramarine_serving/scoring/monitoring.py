"""`azureml.ai.monitoring` for scoring scripts: what they collect by `Collector(name=…).collect(frame)`.

Azure's own package hands its data to a process that only Azure runs beside a container. Where data is collected here,
this module therefore stands in its place; where none is, only if the environment lacks it, so that scripts can import.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import time
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Callable

from .collecting import CORRELATION, correlation_of, is_in
from .collecting import Collector as Keeper
from .records import LINE_BYTES_MAX, Frame
from .tracing import trace_of

log = logging.getLogger("collector")

NAME = "azureml.ai.monitoring"
_PARENTS = ("azureml", "azureml.ai")
_CELL_BYTES = 8

Headers = Mapping[str, str]
OnError = Callable[[Exception], Any]


@contextmanager
def request_of(headers: Headers) -> Generator[None, None, None]:
    """What is collected inside belongs to the request with these headers."""
    token = _headers.set(headers)
    try:
        yield
    finally:
        _headers.reset(token)


class CorrelationContext:
    """What joins the records of one request."""

    def get_id(self) -> str:
        return ""

    def __str__(self) -> str:
        return self.get_id()


class BasicCorrelationContext(CorrelationContext):
    """With an id of the script's own, or a new one."""

    def __init__(self, id: str | None = None, timestamp: int | None = None, headers: Any = None) -> None:
        self.id = str(id) if id else str(uuid.uuid4())
        self.timestamp = int(timestamp) if timestamp else int(time.time())
        self.headers: Mapping[str, str] = dict(headers or {})

    def get_id(self) -> str:
        return self.id

    def get_timestamp(self) -> int:
        return self.timestamp

    def get_headers(self) -> Mapping[str, str]:
        return self.headers


class WrapperContext(CorrelationContext):
    """What `collect` returns: the context, and whether the data was taken."""

    def __init__(self, correlation_context: CorrelationContext, success: bool, message: str) -> None:
        self._context, self._success, self._message = correlation_context, success, message

    def get_id(self) -> str:
        return self._context.get_id()

    def is_success(self) -> bool:
        return self._success

    def get_message(self) -> str:
        return self._message


class Collector:
    """Collects data frames under a name."""

    def __init__(self, *, name: str, on_error: OnError | None = None) -> None:
        self.name = name
        self._on_error = on_error or _raise
        if not name:
            self._on_error(ValueError("collection name is not provided"))
        elif _keeper is None or name not in _keeper.settings.collections:
            log.warning("The deployment's data_collector does not enable %r: what is collected there is dropped.", name)

    def collect(self, data: Any, correlation_context: CorrelationContext | None = None) -> CorrelationContext:
        """Take a pandas frame as it is now. The context that is returned joins what is collected with it to this."""
        headers = _headers.get({})
        bits = int(headers.get(CORRELATION.decode(), "0") or "0", 16) or uuid.uuid4().int
        context = correlation_context or BasicCorrelationContext(id=correlation_of(bits))
        if _keeper is None or self.name not in _keeper.settings.collections:
            return WrapperContext(context, False, f"collection {self.name} is not enabled")
        if not is_in(bits, _keeper.settings.collections[self.name]):
            return WrapperContext(context, False, "dropped_sampling")
        if not (hasattr(data, "to_dict") and hasattr(data, "columns")):
            error = TypeError(f"data type ({type(data).__name__}) not supported, supported types: pandas.DataFrame")
            self._on_error(error)
            return WrapperContext(context, False, str(error))
        size = int(data.shape[0]) * int(data.shape[1]) * _CELL_BYTES
        copy = data.copy() if size <= LINE_BYTES_MAX else None
        is_taken = _keeper.put(Frame(self.name, copy, size, time.time(), context.get_id(), trace_of(headers)), size)
        return WrapperContext(context, is_taken, "" if is_taken else "left out: too many records wait to be written")


def get_context() -> CorrelationContext:
    """A new context."""
    return BasicCorrelationContext()


def install(keeper: Keeper | None) -> None:
    """Let scripts import it. `keeper`: whoever keeps what they collect, None where nothing is collected."""
    global _keeper
    _keeper = keeper
    if keeper is None and _is_there(NAME):
        return
    sys.meta_path.insert(0, _Finder((NAME, *(f"{NAME}.{each}" for each in ("collector", "context")))))
    sys.meta_path.append(_Finder(_PARENTS))  # behind all others: only where no package of Azure's is installed


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _raise(error: Exception) -> None:
    raise error


class _Finder(MetaPathFinder, Loader):
    """Finds modules of these names, all with the same content; parents are empty packages."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname in self._names else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ not in _PARENTS:
            module.__dict__.update({each.__name__: each for each in _SHOWN})


_SHOWN = (Collector, CorrelationContext, BasicCorrelationContext, get_context)
_headers: ContextVar[Headers] = ContextVar("headers")
_keeper: Keeper | None = None
