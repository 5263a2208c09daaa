"""What a Prometheus server reads."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from ultramarine.api.access import Ctx, Observer
from ultramarine.services import deployments, status

router = APIRouter(tags=["metrics"])


@router.get("/metrics", include_in_schema=False)
async def get_metrics(ctx: Ctx, _: Observer) -> Response:
    """Metrics of the whole installation, in Prometheus' text format (docs/reference/metrics.md)."""
    found = await status.status(ctx)
    text = ctx.measures.text(
        found.state,
        ctx.hub.heard(),
        ctx.clock(),
        traffic=ctx.hub.traffic,
        replicas=deployments.figures(ctx, found.state.runs),
    )
    return Response(text, media_type=CONTENT_TYPE_LATEST)
