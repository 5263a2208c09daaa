"""Pages of executed notebooks: shown on the second origin, and by headers that let nothing in them act."""

from fastapi import APIRouter
from fastapi.responses import FileResponse

from ultramarine.api import views
from ultramarine.api.access import Browser, Ctx, Reader
from ultramarine.api.reached import ReachedAt
from ultramarine.services import notebook_pages
from ultramarine.tracking.in_job.ultramarine_page_elements import POLICY

router = APIRouter(tags=["jobs"])
HTML = "text/html; charset=utf-8"
SAFE = {
    "content-security-policy": f"sandbox; {POLICY}; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-dns-prefetch-control": "off",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "private, no-store",
}


@router.get("/api/v1/workspaces/{workspace}/jobs/{name}/page", response_class=FileResponse)
async def get_job_page(workspace: str, name: str, ctx: Ctx, _: Reader) -> FileResponse:
    """The page of an executed notebook, as a file. 409 for a job of another type, or that has not ended."""
    page = await notebook_pages.find(ctx, workspace, name)
    return FileResponse(page, headers=SAFE, media_type=HTML, filename=f"{name}.html")


@router.post("/api/v1/workspaces/{workspace}/jobs/{name}/page", status_code=201)
async def show_job_page(workspace: str, name: str, ctx: Ctx, token: Reader, reached: ReachedAt) -> views.View:
    """A link, good once and for a minute, that signs a browser in to the second origin and leads to that page."""
    code = await notebook_pages.make_code(ctx, token, workspace, name)
    return {"url": f"{reached.second_address}/login?code={code}"}


@router.get("/pages/{workspace}/jobs/{name}", include_in_schema=False)
async def read_job_page(workspace: str, name: str, ctx: Ctx, _: Browser) -> FileResponse:
    return FileResponse(await notebook_pages.find(ctx, workspace, name), headers=SAFE, media_type=HTML)
