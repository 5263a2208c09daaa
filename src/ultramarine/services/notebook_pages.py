"""The page of an executed notebook, which its run has made: where it is, and the link that shows it in a browser.

What is in it is the work of whoever wrote the notebook and the data. It is shown on the second origin, by headers that
let nothing in it act, whatever the run has made of it.
"""

import asyncio
import re
from pathlib import Path

from ultramarine.domain.errors import Conflict, NotFound, TooLarge
from ultramarine.domain.identity import Token
from ultramarine.domain.job import NOTEBOOK, Job
from ultramarine.services import jobs, sessions
from ultramarine.services.context import Context
from ultramarine.services.notebooks import PAGE_BYTES_MAX
from ultramarine.services.snapshots import get_snapshot
from ultramarine.tracking.in_job.ultramarine_page_elements import FRAME, TAGS

SUFFIX = ".html"
BEGINS = b"<!doctype html>"  #: another encoding, which browsers find out by its first bytes, begins otherwise
ELEMENT = re.compile(rb"</?([A-Za-z][^\s/>]*)")
KNOWN = frozenset(tag.encode() for tag in TAGS | FRAME)


def address(workspace: str, name: str) -> str:
    """Of the page, on the second origin."""
    return f"/pages/{workspace}/jobs/{name}"


async def make_code(ctx: Context, token: Token, workspace: str, name: str) -> str:
    """A code that is good once, within a minute, for the page in a browser. Raises as `find`."""
    await find(ctx, workspace, name)
    return await sessions.make_code(ctx, token, address(workspace, name), workspace=workspace)


async def find(ctx: Context, workspace: str, name: str) -> Path:
    """The file. Raises `NotFound`, `Conflict` for a job that can have none (yet), `TooLarge`."""
    state = await jobs.get(ctx, workspace, name)
    if state.job.spec.notebook is None:
        raise Conflict(
            f"Job {name} runs a command: only a notebook's job has a page.",
            hint=f"See its log: um job stream -n {name}; what it has written: um job download -n {name}",
        )
    if not state.run.is_final:
        raise Conflict(
            f"Job {name} is {state.run.status}: the page of its notebook is there once it has ended.",
            hint=f"Follow it: um job stream -n {name}",
        )
    ending = state.run.ending
    page = _in(ctx, state.job, None if ending is None else ending.outputs.get(NOTEBOOK))
    if not await asyncio.to_thread(is_quiet, page):
        raise Conflict(
            f"The page of job {name} is the job's own work, with more in it than pages have: it is not shown.",
            hint=f"Download it: {_download(name)}",
        )
    return page


def is_quiet(page: Path) -> bool:
    """Whether it has no elements but those of the pages that our own program makes.

    Headers keep scripts and requests back. But browsers connect ahead to where a frame or a `<link rel=preconnect>`
    points, whatever the headers say.
    """
    content = page.read_bytes()
    return content.startswith(BEGINS) and {name.lower() for name in ELEMENT.findall(content)} <= KNOWN


def _download(name: str) -> str:
    return f"um job download -n {name} --output-name {NOTEBOOK}"


def _in(ctx: Context, job: Job, snapshot: str | None) -> Path:
    """In the job's output, beside the executed notebook."""
    wanted = (job.spec.notebook or "").rpartition("/")[2].removesuffix(".ipynb") + SUFFIX
    files = get_snapshot(ctx, snapshot).files if snapshot else ()
    page = next((each for each in files if each.path == wanted), None)
    if page is None:
        log = f"um job stream -n {job.name}"
        hint = f"The end of its log says why: {log}. The notebook, if it began: {_download(job.name)}"
        raise NotFound("page of notebook job", job.name, hint=hint)
    if page.size > PAGE_BYTES_MAX:
        raise TooLarge(
            f"The page of job {job.name} has {page.size} bytes; at most {PAGE_BYTES_MAX} are shown.",
            hint=f"Download it: {_download(job.name)}",
        )
    return ctx.blobs.path(page.sha256)
