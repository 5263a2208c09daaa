"""Pages of executed notebooks: who sees them, by which headers, and what is said where there is none."""

from typing import Any

import pytest
from tests.api.conftest import Api

from ultramarine.domain.run import Cause, Ending, RunEvent
from ultramarine.files.snapshots import canonical
from ultramarine.services import notebook_pages
from ultramarine.store import jobs, runs

JOB = "/api/v1/workspaces/w/jobs/n"
SEEN, LINK = f"{JOB}/page", "/pages/w/jobs/n"
HTML = b"<!doctype html><html><body onload='alert(1)'><p>1 &lt; 2</p></body></html>"


def snapshot(api: Api, **files: bytes) -> str:
    """Of a folder with these files."""
    entries = [
        {"path": path.replace("__", "."), "sha256": api.ctx.blobs.put(content), "size": len(content), "mode": 0o644}
        for path, content in files.items()
    ]
    return api.ctx.blobs.put(canonical({"kind": "folder", "files": entries}))


async def made(api: Api, **different: Any) -> None:
    """The job `n`, whose notebook is `deep/train.ipynb`."""
    code = snapshot(api, train__ipynb=b"{}")
    body = {
        "notebook": "deep/train.ipynb",
        "code": f"snapshot:{code}",
        "environment": "minimal",
        "compute": "local",
        **different,
    }
    answer = await api.ask("PUT", JOB, json={name: value for name, value in body.items() if value is not None})
    assert answer.status_code == 201, answer.text


async def ended(api: Api, **files: bytes) -> None:
    """It has failed, and left these files; none: it has left no output."""
    outputs = {"notebook": snapshot(api, **files)} if files else {}
    async with api.ctx.begin() as tx:
        run = await runs.newest(tx, (await jobs.get(tx, "w", "n")).id)
        for event in (RunEvent.PLACED, RunEvent.STARTED):
            run = await runs.record(tx, run, event, now=api.ctx.clock())
        ending = Ending(cause=Cause.EXITED, code=1, words="A cell failed.", outputs=outputs)
        await runs.record(tx, run, RunEvent.CRASHED, now=api.ctx.clock(), changes={"ending": ending})


async def shown(api: Api, reach: str) -> Any:
    """What a browser gets that is signed in for these workspaces, by way of the gateway."""
    return await api.http.get(LINK, headers={"x-ultramarine-reach": reach} if reach else {})


async def test_a_page_is_shown_such_that_nothing_in_it_acts(api: Api):
    await made(api)
    await ended(api, train__ipynb=b"{}", train__html=HTML)
    for answer in (await shown(api, "w"), await shown(api, "*"), await api.ask("GET", SEEN, token="reader")):
        assert (answer.status_code, answer.content) == (200, HTML)
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        policy = [part.strip() for part in answer.headers["content-security-policy"].split(";")]
        assert policy == [
            *("sandbox", "default-src 'none'", "img-src data:", "style-src 'unsafe-inline'", "font-src data:"),
            *("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
        ]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["content-disposition"] == 'attachment; filename="n.html"'


async def test_who_is_not_signed_in_for_its_workspace_does_not_see_it(api: Api):
    await made(api)
    await ended(api, train__html=HTML)
    assert [(await shown(api, reach)).status_code for reach in ("", "v")] == [401, 403]
    for method in ("GET", "POST"):
        assert (await api.ask(method, SEEN, token="other")).status_code == 403
        assert (await api.ask(method, SEEN, token="")).status_code == 401


async def test_a_link_signs_a_browser_in_for_the_workspace_and_leads_to_the_page(api: Api):
    await made(api)
    await ended(api, train__html=HTML)
    link = (await api.ask("POST", SEEN, token="reader")).json()["url"]
    assert link.startswith(f"{api.ctx.site.second_address}/login?code=")
    exchanged = await api.http.post("/internal/exchange", json={"code": link.partition("code=")[2]})
    assert exchanged.json()["redirect"] == LINK
    question = {"token": exchanged.json()["session"], "purpose": "session"}
    granted = (await api.http.post("/internal/authorize", json=question)).json()
    assert (granted["workspace"], granted["reach"], granted["right"]) == ("w", "w", "read")


@pytest.mark.parametrize(
    ("files", "status", "said"),
    [
        ({}, 404, "um job download -n n --output-name notebook"),
        ({"train__ipynb": b"{}", "other__html": HTML}, 404, "um job stream -n n"),
        ({"train__html": HTML * 2}, 413, "Download it"),
    ],
)
async def test_a_job_that_has_left_no_page_or_too_large_a_one_says_so(
    api: Api, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], status: int, said: str
):
    monkeypatch.setattr(notebook_pages, "PAGE_BYTES_MAX", len(HTML))
    await made(api)
    await ended(api, **files)
    for answer in (await shown(api, "w"), await api.ask("GET", SEEN), await api.ask("POST", SEEN)):
        assert answer.status_code == status
        assert said in answer.json()["hint"]


@pytest.mark.parametrize(
    "content",
    [
        b"<!doctype html><p><LINK rel=preconnect href=http://elsewhere.example>",
        b"<!doctype html><p><iframe/src=http://elsewhere.example>",
        b"<!doctype html><script>alert(1)</script>",
        "<!doctype html>".encode("utf-16"),
        b"\xef\xbb\xbf<!doctype html>",
        b"",
    ],
)
async def test_a_page_with_more_in_it_than_ours_have_is_not_shown(api: Api, content: bytes):
    await made(api)
    await ended(api, train__html=content)
    for answer in (await shown(api, "w"), await api.ask("GET", SEEN), await api.ask("POST", SEEN)):
        assert answer.status_code == 409
        assert "um job download -n n --output-name notebook" in answer.json()["hint"]


async def test_no_job_one_that_goes_on_and_one_of_a_command_are_told_apart(api: Api):
    assert [(await api.ask(method, SEEN)).status_code for method in ("GET", "POST")] == [404, 404]
    await made(api)
    answer = await api.ask("POST", SEEN)
    assert (answer.status_code, "is Queued" in answer.json()["detail"]) == (409, True)
    assert answer.json()["hint"] == "Follow it: um job stream -n n"
    assert (await api.ask("PUT", f"{JOB}2", json={"command": "echo", **_plain()})).status_code == 201
    answer = await api.ask("GET", f"{JOB}2/page")
    assert (answer.status_code, "runs a command" in answer.json()["detail"]) == (409, True)


def _plain() -> dict[str, str]:
    return {"environment": "minimal", "compute": "local"}
