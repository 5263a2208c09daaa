"""The page of an executed notebook, which its run has made: where it is, and the link that shows it in a browser.

What is in it is the work of whoever wrote the notebook and the data. It is shown on the second origin, by headers that
let nothing in it act, whatever the run has made of it.
"""

from pathlib import Path

from ultramarine.domain.errors import Conflict, NotFound, TooLarge
from ultramarine.domain.identity import Token
from ultramarine.domain.job import NOTEBOOK, Job
from ultramarine.services import jobs, sessions
from ultramarine.services.context import Context
from ultramarine.services.notebooks import PAGE_BYTES_MAX
from ultramarine.services.snapshots import get_snapshot

SUFFIX = ".html"


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
    return _in(ctx, state.job, None if ending is None else ending.outputs.get(NOTEBOOK))


def _in(ctx: Context, job: Job, snapshot: str | None) -> Path:
    """In the job's output, beside the executed notebook."""
    wanted = (job.spec.notebook or "").rpartition("/")[2].removesuffix(".ipynb") + SUFFIX
    files = get_snapshot(ctx, snapshot).files if snapshot else ()
    page = next((each for each in files if each.path == wanted), None)
    download = f"um job download -n {job.name} --output-name {NOTEBOOK}"
    if page is None:
        hint = f"The end of its log says why: um job stream -n {job.name}. The notebook, if it began: {download}"
        raise NotFound("page of notebook job", job.name, hint=hint)
    if page.size > PAGE_BYTES_MAX:
        raise TooLarge(
            f"The page of job {job.name} has {page.size} bytes; at most {PAGE_BYTES_MAX} are shown.",
            hint=f"Download it: {download}",
        )
    return ctx.blobs.path(page.sha256)
