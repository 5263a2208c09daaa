"""An executed notebook becomes a page; scripts do not come along."""

import bleach
import nbformat
from bleach.css_sanitizer import CSSSanitizer
from bs4 import BeautifulSoup
from nbconvert.exporters import HTMLExporter

shown = nbformat.v4.new_output("display_data", {"text/html": "<script>1</script><b>42</b>"})
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("6 * 7", outputs=[shown])])
exporter = HTMLExporter(template_name="basic", sanitize_html=True)
page = BeautifulSoup(exporter.from_notebook_node(notebook)[0], "html.parser")
assert (page.b.get_text(), page.script) == ("42", None), page
given = '<p style="color: red; position: fixed"></p>'
kept = bleach.clean(given, tags=["p"], attributes=["style"], css_sanitizer=CSSSanitizer())
assert kept == '<p style="color: red;"></p>', kept
