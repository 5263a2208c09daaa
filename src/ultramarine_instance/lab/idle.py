"""What the page asks of its instance: when it stops for want of use, and that it does not yet.

The control plane decides, and is asked with the instance's own token, once for all pages that are open.
"""

import asyncio
import os
import time
from datetime import datetime, timezone

from jupyter_server.base.handlers import APIHandler
from tornado import web

from ultramarine_instance.control import Control, NoAnswer

FRESH_S = 5.0
WARNING_S = 300.0  #: before its end it is told
HOURS = 1.0  #: that it is kept up for at a time


class Idle:
    """What the control plane says, some seconds old at most."""

    def __init__(self, name):
        self._name = name
        self._view, self._asked_at, self._lock = {}, None, asyncio.Lock()

    async def view(self):
        """Of the instance. Raises NoAnswer."""
        async with self._lock:
            if self._asked_at is None or time.monotonic() - self._asked_at >= FRESH_S:
                self._keep(await asyncio.to_thread(lambda: _control().instance(self._name)))
            return self._view

    async def keep_awake(self):
        """Raises NoAnswer."""
        async with self._lock:
            self._keep(await asyncio.to_thread(lambda: _control().keep_awake(self._name, hours=HOURS)))
            return self._view

    def _keep(self, view):
        self._view, self._asked_at = view, time.monotonic()


def _control():
    return Control.from_variables(os.environ)


def handlers(base, name):
    """The routes of an instance of this name."""
    idle = {"idle": Idle(name)}
    return [(f"{base}ultramarine/idle", IdleHandler, idle), (f"{base}ultramarine/keep-awake", KeepHandler, idle)]


def told(view, now):
    """In seconds from now: the clock of who looks at the page may be another one."""
    stops_at = view.get("stops_at")
    left = None if stops_at is None else max(0.0, (datetime.fromisoformat(stops_at) - now).total_seconds())
    return {
        "stops_in_s": left,
        "warns": left is not None and left <= WARNING_S,
        "awake_until": view.get("awake_until"),
    }


class _Handler(APIHandler):
    def initialize(self, idle):
        super().initialize()
        self.idle = idle

    async def answer(self, asked):
        try:
            view = await asked
        except NoAnswer as error:
            raise web.HTTPError(503, str(error)) from None
        self.finish(told(view, datetime.now(timezone.utc)))


class IdleHandler(_Handler):
    @web.authenticated
    async def get(self):
        await self.answer(self.idle.view())


class KeepHandler(_Handler):
    @web.authenticated
    async def post(self):
        await self.answer(self.idle.keep_awake())
