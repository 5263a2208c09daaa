"""The control plane's HTTP application."""

from fastapi import FastAPI, Response

from ultramarine import __version__
from ultramarine.api import (
    assets,
    collected,
    computes,
    endpoints,
    environments,
    files,
    installation,
    internal,
    jobs,
    metrics,
    models,
    pages,
    problem,
    rollouts,
    runner,
    scheduler,
)
from ultramarine.api.body import BodyLimit
from ultramarine.services.context import Context

#: Looked through in this order for each request: those that are asked most often come first.
ROUTERS = (
    runner.router,
    jobs.router,
    pages.router,
    installation.router,
    computes.router,
    *assets.routers,
    environments.router,
    files.router,
    models.router,
    endpoints.router,
    rollouts.router,
    collected.router,
    internal.router,
    metrics.router,
    scheduler.router,
)
JSON_BYTES_MAX = 8 * 1024**2
STREAMING = ("/blobs/", "/snapshots/", "/runner/v1/files/", "/runner/v1/logs/", "/runner/v1/collected/")


def build(ctx: Context) -> FastAPI:
    app = FastAPI(
        title="Ultramarine", version=__version__, openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None
    )
    app.state.ctx = ctx
    problem.install(app)
    app.add_middleware(BodyLimit, bytes_max=JSON_BYTES_MAX, streaming=STREAMING)
    for router in ROUTERS:
        app.include_router(router)
    app.add_api_route("/healthz", _healthz, include_in_schema=False)
    return app


async def _healthz() -> Response:
    """Alive. It says nothing of the installation, and needs no token."""
    return Response("ok\n", media_type="text/plain")
