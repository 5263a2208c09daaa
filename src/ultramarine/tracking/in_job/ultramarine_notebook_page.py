"""An executed notebook as one HTML page in which nothing acts: no scripts, nothing from other places.

What a cell has shown may come from anywhere. So each piece of HTML is cut down to what is listed here, and the page
itself forbids browsers the rest, for who opens it as a file; where it is served, headers do so again.

This is a program of its own, on nothing but the curated environment `page`: what the job's environment has in other
versions is not in its way.
"""

import argparse
import html
import os
import re
import sys

import bleach
import nbformat
from bleach.css_sanitizer import CSSSanitizer
from bs4 import BeautifulSoup
from nbconvert.exporters import HTMLExporter
from pygments.formatters import HtmlFormatter
from traitlets.config import Config
from ultramarine_page_elements import POLICY, TAGS

NOT_MADE = 3  #: the exit code; stderr says why
SCRIPTED = ("script", "iframe", "object", "embed", "svg", "canvas", "form")
WHOLE = (*SCRIPTED, "style", "template", "noscript", "noembed", "noframes", "math", "title", "textarea", "select")
ANYWHERE = frozenset({"align", "class", "dir", "hidden", "id", "lang", "style", "title"})
OF_TAG = {
    "a": {"href"},
    "details": {"open"},
    "img": {"alt", "height", "src", "width"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
}
PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]*")
BASE64 = re.compile(r"[A-Za-z0-9+/=\s]*")
LINK = re.compile(r"(?:https?://|mailto:|#)", re.IGNORECASE)
SHOWN = ("text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/latex", "text/plain")
PICTURES = ("image/svg+xml", "image/png", "image/jpeg")
WANTS_SCRIPTS = "(What is shown here wants scripts, which pages do not run; the notebook has it.)"
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #fff; color: #1b1f24; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem; overflow-wrap: break-word; }
.cell { display: flex; flex-direction: column; margin: 0 0 1.2rem; }
.input, .output_area, .text_cell { display: flex; flex-direction: row; }
.prompt { flex: 0 0 5rem; padding: .45rem .6rem 0 0; box-sizing: border-box; text-align: right; color: #59636e;
  font: 12px/1.6 ui-monospace, monospace; }
.inner_cell, .output_subarea { flex: 1 1 auto; min-width: 0; overflow-x: auto; }
.input_area { background: #f6f8fa; border: 1px solid #d1d9e0; border-radius: 4px; }
.output_subarea { padding: .3rem .6rem; }
pre, code { font: 13px/1.5 ui-monospace, monospace; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.input_area pre { padding: .45rem .6rem; white-space: pre; overflow-x: auto; }
.rendered_html pre { padding: .45rem .6rem; background: #f6f8fa; }
.text_cell_render { padding: 0 .6rem; }
.text_cell_render > :first-child { margin-top: 0; }
.output_stderr { background: #fdecea; }
img { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 13px; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #d1d9e0; text-align: right; }
thead th { border-bottom: 2px solid #818b98; }
tbody tr:nth-child(even) { background: #f6f8fa; }
.text_cell_render th, .text_cell_render td { text-align: left; }
blockquote { margin: 0; padding-left: 1rem; border-left: 4px solid #d1d9e0; color: #59636e; }
a[href] { color: #0757ba; }
.ansi-bold { font-weight: bold; }
.ansi-underline { text-decoration: underline; }
@media (max-width: 45rem) {
  main { padding: .6rem; }
  .input, .output_area, .text_cell { flex-direction: column; }
  .prompt { flex: none; padding: 0; text-align: left; }
  .prompt:empty { display: none; }
}
"""
#: What a terminal shows, dark enough to be read on white.
COLOURS = {
    "black": "#1b1f24",
    "red": "#b3261e",
    "green": "#116329",
    "yellow": "#7d4e00",
    "blue": "#0550ae",
    "magenta": "#8250df",
    "cyan": "#0e6b77",
    "white": "#59636e",
}


def main(given=None):
    parser = argparse.ArgumentParser()
    for name in ("--notebook", "--folder"):
        parser.add_argument(name, required=True)
    parser.add_argument("--bytes-max", type=int, required=True)
    args = parser.parse_args(given)
    if os.path.getsize(args.notebook) > args.bytes_max:
        return _not_made(f"the notebook is larger than {args.bytes_max >> 20} MiB")
    made = page(nbformat.read(args.notebook, as_version=4), args).encode()
    if len(made) > args.bytes_max:
        return _not_made(f"it would be larger than {args.bytes_max >> 20} MiB")
    sys.stdout.buffer.write(made)
    return 0


def _not_made(why):
    print(why, file=sys.stderr)
    return NOT_MADE


class Exporter(HTMLExporter):
    """By the templates that came with it, whichever else are on the machine."""

    def get_prefix_root_dirs(self):
        above = os.path.join(os.path.dirname(nbformat.__file__), *[os.pardir] * 4)
        return [os.path.join(os.path.normpath(above), "share", "jupyter")]


def page(notebook, args):
    """The whole page. Pictures that text cells name below the notebook's folder are put in."""
    exporter = Exporter(
        template_name="basic",
        template_data_paths=[],
        sanitize_html=True,
        embed_images=True,
        exclude_anchor_links=True,
        config=Config(NbConvertBase={"display_data_priority": list(SHOWN)}),
    )
    exporter.register_filter("clean_html", clean)
    body, _ = exporter.from_notebook_node(plain(notebook), {"metadata": {"path": os.path.abspath(args.folder)}})
    title = html.escape(os.path.basename(args.notebook))
    return PAGE.format(policy=POLICY, title=title, style=_style(), body=body)


def _style():
    colours = [
        f".ansi-{name}-fg, .ansi-{name}-intense-fg {{ color: {colour}; }}\n"
        f".ansi-{name}-bg, .ansi-{name}-intense-bg {{ background: {colour}; color: #fff; }}"
        for name, colour in COLOURS.items()
    ]
    return "\n".join((STYLE, *colours, HtmlFormatter(style="default").get_style_defs(".highlight")))


def plain(notebook):
    """Of the notebook what a page shows, without what templates would take on trust."""
    cells = [cell for cell in notebook.cells if cell.cell_type in ("code", "markdown", "raw")]
    for cell in cells:
        cell.metadata = nbformat.NotebookNode()
        if cell.cell_type == "code":
            count = cell.get("execution_count")
            cell.execution_count = count if isinstance(count, int) else None
            cell.outputs = [_plain_output(one) for one in cell.get("outputs", ())]
    notebook.cells = cells
    return notebook


def _plain_output(output):
    if "data" in output:
        output.metadata = nbformat.from_dict(_sizes(output.get("metadata", {})))
        output.data = nbformat.from_dict(_shown(output.data))
    return output


def _sizes(metadata):
    """How large pictures are to be."""
    given = {kind: metadata.get(kind) for kind in PICTURES}
    return {
        kind: {name: one[name] for name in ("width", "height") if isinstance(one.get(name), int)}
        for kind, one in given.items()
        if isinstance(one, dict)
    }


def _shown(data):
    """What a page can show of it: where nothing is left of its HTML without scripts, the next best."""
    found = {kind: data[kind] for kind in SHOWN if isinstance(data.get(kind), str)}
    for kind in ("image/png", "image/jpeg"):
        if not BASE64.fullmatch(found.get(kind, "")):
            del found[kind]
    given = found.get("text/html")
    if given is None:
        return found
    found["text/html"] = clean(given)
    left = BeautifulSoup(found["text/html"], "html.parser")
    if left.get_text(strip=True) or left.find("img", src=True):
        return found
    del found["text/html"]
    if not any(kind in found for kind in PICTURES):
        found["text/plain"] = WANTS_SCRIPTS if BeautifulSoup(given, "html.parser").find(SCRIPTED) else ""
    return found


def clean(given):
    """HTML with nothing in it but what is listed above; each element that was opened is closed."""
    soup = BeautifulSoup(str(given), "html.parser")
    for element in soup.find_all(WHOLE):
        element.decompose()
    for picture in soup.find_all("img"):
        if not PICTURE.fullmatch(picture.get("src", "")):
            picture.replace_with(picture.get("alt", ""))
    return bleach.clean(
        str(soup),
        tags=TAGS,
        attributes=_is_allowed,
        protocols=("data", "http", "https", "mailto"),
        css_sanitizer=CSSSanitizer(),
        strip=True,
    )


def _is_allowed(tag, name, value):
    if name == "href":
        return tag == "a" and LINK.match(value) is not None
    if name == "src":
        return tag == "img" and PICTURE.fullmatch(value) is not None
    return name in ANYWHERE or name in OF_TAG.get(tag, ())
