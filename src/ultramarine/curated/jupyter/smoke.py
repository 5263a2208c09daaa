"""JupyterLab answers who has its token and nobody else, opens a terminal; a notebook is executed and becomes a page."""

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

place = tempfile.mkdtemp()
for name in ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
    os.environ[name] = place

import ipywidgets  # noqa: E402
import nbformat  # noqa: E402
from nbconvert.exporters import HTMLExporter  # noqa: E402
from nbconvert.preprocessors import ExecutePreprocessor  # noqa: E402

TOKEN = "of-the-smoke-test"
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]


def asked(path, *, token=TOKEN, method="GET"):
    """The answer's status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, headers={"Authorization": f"token {token}"} if token else {})
    answer = connection.getresponse()
    try:
        return answer.status, answer.read()
    finally:
        connection.close()


options = [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={place}", "--no-browser"]
as_root = ["--allow-root"] if os.getuid() == 0 else []
server = subprocess.Popen(
    [sys.executable, "-m", "jupyterlab", *options, *as_root], env={**os.environ, "JUPYTER_TOKEN": TOKEN}
)
try:
    until = time.monotonic() + 60
    while True:
        try:
            status, said = asked("/api/status")
            break
        except ConnectionError:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.1)
    assert (status, json.loads(said)["kernels"]) == (200, 0), said
    assert [asked(path, token=None)[0] for path in ("/api/status", "/api/terminals")] == [403, 403]
    assert b"jupyter-config-data" in asked("/lab")[1]
    assert json.loads(asked("/api/terminals", method="POST")[1])["name"] == "1"
finally:
    server.terminate()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()

assert ipywidgets.IntSlider(value=7).value == 7
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(6 * 7)")])
ExecutePreprocessor(timeout=60).preprocess(notebook, {"metadata": {"path": place}})
assert notebook.cells[0].outputs[0]["text"] == "42\n", notebook.cells[0].outputs
assert "42" in HTMLExporter().from_notebook_node(notebook)[0]
