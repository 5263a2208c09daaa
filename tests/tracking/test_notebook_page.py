"""The page of an executed notebook: what is to be read is there, and whatever is in a notebook, nothing acts."""

import json
import os
import subprocess
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.runner_environments.building import UV

from ultramarine import curated
from ultramarine.locks.site import site_options
from ultramarine.services.notebook_pages import is_quiet
from ultramarine.services.notebooks import PAGE, PAGE_BYTES_MAX
from ultramarine.tracking.in_job.ultramarine_notebook import PAGE as PROGRAM
from ultramarine.tracking.variables import IN_JOB_ZIP, in_job_zip
from ultramarine_runner.environments import Recipe, ensure, find_pythons

CACHE = Path(os.environ.get("ULTRAMARINE_TEST_CACHE") or Path.home() / ".cache" / "ultramarine-tests")
PIXEL = b64encode(b"\x89PNG of some sort").decode()
ELSEWHERE = "http://elsewhere.example"
HOSTILE = (
    f"<script>fetch('{ELSEWHERE}')</script>",
    "<img src=x onerror='alert(1)'>",
    f"<img src='{ELSEWHERE}/a.png' srcset='{ELSEWHERE}/b.png 2x' alt='of elsewhere'>",
    "<a href='javascript:alert(1)'>a</a><a href='&#106;ava\tscript:alert(1)'>b</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>c</a><a href='//elsewhere.example'>d</a>",
    f"<iframe src='{ELSEWHERE}'></iframe><object data='{ELSEWHERE}'></object><embed src='{ELSEWHERE}'>",
    f"<meta http-equiv='refresh' content='0;url={ELSEWHERE}'>",
    f"<form action='{ELSEWHERE}'><input name=a autofocus onfocus='alert(1)'><button>Go</button></form>",
    f"<link rel=stylesheet href='{ELSEWHERE}/a.css'><link rel=preconnect href='{ELSEWHERE}'>",
    f"<base href='{ELSEWHERE}'><style>@import '{ELSEWHERE}/a.css'</style>",
    f"<p style='background: url({ELSEWHERE}/a.png); position: fixed; color: red' onclick='alert(1)'>p</p>",
    "<svg onload='alert(1)'><script>alert(1)</script><a xlink:href='javascript:alert(1)'>e</a></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></mglyph></table></mtext></math>",
    f"<video autoplay src='{ELSEWHERE}/a'></video><audio autoplay src='{ELSEWHERE}/a'></audio>",
    "</div></div></main></body><!-- and so on",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
)
FORBIDDEN = {"base", "embed", "form", "iframe", "input", "link", "math", "object", "script", "svg", "video"}
GOES_TO = ("#", "http://", "https://", "mailto:")


class Read(HTMLParser):
    """What a browser would see in a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def site() -> Path:
    """The packages of the curated environment `page`."""
    one = curated.load()[PAGE]
    lock = one.lock(python=one.choose_python(tuple(find_pythons())), platform=f"linux-{os.uname().machine}")
    recipe = Recipe(digest=lock.digest, lock=lock.text.encode(), python=lock.python)
    home = ensure(CACHE, recipe, options=site_options().to_json(), uv=UV, progress=lambda _: None)
    return next((home / "lib").glob("python3*/site-packages"))


def markdown(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def code(source: str, *outputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": "code", "metadata": {}, "source": source, "outputs": list(outputs)}
    return {**cell, "execution_count": 1, **more}


def shown(data: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"output_type": "display_data", "data": data, "metadata": metadata}


def attempt(site: Path, folder: Path, *cells: dict[str, Any], bytes_max: int = PAGE_BYTES_MAX) -> Any:
    """Make the page, as a run does."""
    (folder / IN_JOB_ZIP).write_bytes(in_job_zip())
    written = folder / "train & test.ipynb"
    written.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells}))
    program = (site.parents[2] / "bin" / "python", "-I", "-S", "-c", PROGRAM, folder / IN_JOB_ZIP, site)
    given = ("--notebook", written, "--folder", folder, "--bytes-max", str(bytes_max))
    return subprocess.run((*program, *given), capture_output=True, text=True, check=False)


def page(site: Path, folder: Path, *cells: dict[str, Any]) -> Read:
    done = attempt(site, folder, *cells)
    assert done.returncode == 0, done.stderr
    (folder / "page.html").write_text(done.stdout)
    assert is_quiet(folder / "page.html"), "it is shown"
    return Read(done.stdout)


def test_pictures_tables_text_and_tracebacks_are_there(site: Path, tmp_path: Path):
    (tmp_path / "beside.png").write_bytes(b"beside")
    table = "<style scoped>td {color: red}</style><table class='dataframe'><tr><td>0.25</td></tr></table>"
    error = {"output_type": "error", "ename": "E", "evalue": "", "traceback": ["\x1b[0;31mValueError\x1b[0m: <b>"]}
    seen = page(
        site,
        tmp_path,
        markdown("# Heading\n\n**bold** of a < b\n\n> quoted\n\n![a plot](beside.png)"),
        code("x = 1  # set", shown({"text/html": table, "text/plain": "plain"})),
        code("plot()", shown({"image/png": PIXEL, "text/plain": "<Figure>"}, **{"image/png": {"width": 300}})),
        code("svg()", shown({"image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg'/>"})),
        code("print()", {"output_type": "stream", "name": "stdout", "text": "\x1b[32mgreen\x1b[0m <i>\n"}),
        code("fail()", error),
    )
    sources = [each["src"] for each in seen.of("img")]
    assert sources[0] == f"data:image/png;base64,{b64encode(b'beside').decode()}"
    assert (sources[1], sources[2][:26]) == (f"data:image/png;base64,{PIXEL}", "data:image/svg+xml;base64,")
    assert seen.of("img")[1]["width"] == "300"
    assert [name for name in ("h1", "strong", "blockquote", "table", "td") if not seen.of(name)] == []
    assert len(seen.of("style")) == 1, "the page's own"
    for text in ("Heading", "a < b", "0.25", "# set", "green <i>", "ValueError", ": <b>", "train & test.ipynb"):
        assert text in seen.text
    assert "color: red" not in seen.text
    classes = {each.get("class") for each in seen.of("span")}
    assert classes >= {"ansi-red-fg", "ansi-green-fg", "c1"}


def test_nothing_of_a_hostile_notebook_acts(site: Path, tmp_path: Path):
    cells: list[dict[str, Any]] = []
    for piece in HOSTILE:
        kinds = ("text/html", "text/markdown", "text/latex", "text/plain")
        cells += [markdown(f"before\n\n{piece}\n\nin {piece} between"), markdown(piece)]
        cells.append(code(piece, *(shown({kind: piece}) for kind in kinds)))
        cells.append({"cell_type": "raw", "metadata": {"raw_mimetype": "text/html"}, "source": piece})
    quoted = {"image/png": 'x" onerror="alert(1)', "image/jpeg": "x' onerror='alert(1)"}
    sized = {"image/png": {"width": "1 onerror=alert(1)", "alt": '"><script>', "unconfined": True}}
    cells += [
        code("", shown({kind: text}, **sized))
        for kind, text in (*quoted.items(), ("application/javascript", "alert(1)"))
    ]
    cells.append(code("", shown({"image/png": PIXEL}, **sized), metadata={"tags": ['"><script>alert(1)</script>']}))
    cells.append(code("", shown({"text/html": "<b>e</b>"}, **{"text/html": {"isolated": True}})))
    cells.append(markdown("[x](javascript:alert(1)) ![y](http://elsewhere.example/y.png) [z](other.html)"))
    seen = page(site, tmp_path, *cells)
    for _, attributes in seen.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("srcset", "action")], attributes
        assert attributes.get("src", "data:image/").startswith("data:image/"), attributes
        assert attributes.get("href", "#").startswith(("#", "http://elsewhere.example", "https:", "mailto:")), (
            attributes
        )
        assert "url(" not in attributes.get("style", ""), attributes
        assert "position" not in attributes.get("style", ""), attributes
    assert FORBIDDEN & {tag for tag, _ in seen.elements} == set()
    assert "" not in [each.get("src", "") for each in seen.of("img")], "a picture that is not there is its words"
    assert "of elsewhere" in seen.text
    assert len(seen.of("main")) == 1
    assert [each.get("name") or each.get("http-equiv") or "charset" for each in seen.of("meta")] == [
        *("charset", "Content-Security-Policy", "referrer", "viewport")
    ]
    assert seen.of("meta")[1]["content"].startswith("default-src 'none'; img-src data:;")


def test_what_wants_scripts_gives_way_to_its_picture_or_is_told_of(site: Path, tmp_path: Path):
    plotly = "<div><script>draw()</script></div>"
    seen = page(
        site,
        tmp_path,
        code("", shown({"text/html": plotly, "image/png": PIXEL})),
        code("", shown({"text/html": plotly, "text/plain": "Figure({})"})),
        code("", shown({"text/html": "<style>p {color: red}</style>", "text/plain": "<HTML object>"})),
    )
    assert len(seen.of("img")) == 1
    assert seen.text.count("wants scripts") == 1
    assert "Figure" not in seen.text
    assert "object" not in seen.text


@pytest.mark.parametrize("bytes_max", [100, 6000])
def test_a_page_that_would_be_too_large_is_not_made_and_why_is_said(site: Path, tmp_path: Path, bytes_max: int):
    done = attempt(site, tmp_path, code("print(1)"), bytes_max=bytes_max)
    assert (done.returncode, done.stdout) == (3, "")
    assert "larger than 0 MiB" in done.stderr
