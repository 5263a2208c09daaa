"""Run a notebook in a job: its cells one after the other, by a kernel in the job's own environment.

What cells print goes to the job's log as it comes. The executed notebook is written after every cell, so one that fails
or is stopped shows how far it came; at the end a page is made of it. Parameters are put after the cell that is tagged
`parameters`, as papermill does. nbclient, nbformat and ipykernel stand behind the environment (`--site`): they are no
part of its lock.
"""

import argparse
import json
import os
import subprocess
import sys

KERNEL = (
    "import sys; sys.path.append(sys.argv.pop(1)); "
    "from ipykernel.kernelapp import launch_new_instance; launch_new_instance()"
)
PAGE = (
    "import sys; sys.path[:0] = sys.argv[1:3]; from ultramarine_notebook_page import main; sys.exit(main(sys.argv[3:]))"
)
PAGE_WITHIN_S = 60
TAG, INJECTED = "parameters", "injected-parameters"  # papermill's words


def main(given=None):
    """The exit code."""
    args = _parser().parse_args(given)
    sys.path.append(args.site)
    import nbformat

    try:
        with open(args.notebook, encoding="utf-8") as file:
            notebook = nbformat.read(file, as_version=4)
    except (OSError, ValueError) as error:  # nbformat's own errors are ValueErrors
        print(f"The notebook {args.notebook} cannot be read: {error}", file=sys.stderr)
        return 2
    language = notebook.metadata.get("kernelspec", {}).get("language", "python")
    if language != "python":
        print(f"The notebook {args.notebook} is for a {language} kernel; jobs run those of Python.", file=sys.stderr)
        return 2
    put_parameters(notebook, json.loads(args.parameters), nbformat.v4.new_code_cell)
    try:
        return _run(notebook, args)
    finally:
        write(notebook, args.output)
        write_page(args)


def _parser():
    parser = argparse.ArgumentParser()
    for name in ("--site", "--page-site", "--page-bytes-max", "--notebook", "--parameters", "--output", "--socket"):
        parser.add_argument(name, required=True)
    return parser


def put_parameters(notebook, parameters, new_cell):
    """Put a cell that sets them after the one with the defaults, or first; one of an earlier run is taken out."""
    cells = [cell for cell in notebook.cells if INJECTED not in cell.metadata.get("tags", ())]
    if parameters:
        source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
        tagged = [at for at, cell in enumerate(cells) if TAG in cell.metadata.get("tags", ())]
        cells.insert(tagged[0] + 1 if tagged else 0, new_cell(source, metadata={"tags": [INJECTED]}))
    notebook.cells = cells


def _run(notebook, args):
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    class Kernel(AsyncKernelManager):
        """One in this very environment, whatever kernels are registered on the machine; nobody else can speak to it."""

        def __init__(self, **given):
            # The folder is the run's own, and deleted with it however this ends.
            place = os.path.join(os.path.dirname(args.socket), "kernel.json")
            super().__init__(transport="ipc", connection_file=place, **given)

        @property
        def kernel_spec(self):
            argv = [sys.executable, "-c", KERNEL, args.site, "-f", "{connection_file}"]
            return KernelSpec(argv=argv, display_name="Python 3", language="python")

    class Client(NotebookClient):
        def process_message(self, msg, cell, cell_index):
            _tell(msg["msg_type"], msg["content"])
            return super().process_message(msg, cell, cell_index)

    async def executed(cell, cell_index, execute_reply):
        write(notebook, args.output)

    folder = os.path.dirname(os.path.abspath(args.notebook))
    client = Client(
        notebook,
        timeout=None,
        kernel_manager_class=Kernel,
        resources={"metadata": {"path": folder}},
        on_cell_executed=executed,
    )
    try:
        client.execute()
    except (CellExecutionError, DeadKernelError) as error:
        words = "The kernel died." if isinstance(error, DeadKernelError) else "A cell failed, the last one in the log."
        print(f"{words} The notebook as far as it came is the job's output.", file=sys.stderr)
        return 1
    return 0


def _tell(kind, content):
    """What a cell shows, as text in the log."""
    if kind == "stream":
        stream = sys.stderr if content["name"] == "stderr" else sys.stdout
        print(content["text"], end="", file=stream, flush=True)
    elif kind in ("execute_result", "display_data"):
        print(content["data"].get("text/plain", ""), flush=True)
    elif kind == "error":
        print("\n".join(content["traceback"]), file=sys.stderr, flush=True)


def write(notebook, place):
    """The executed notebook, whole at any moment."""
    import nbformat

    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(f"{place}.new", "w", encoding="utf-8") as file:
        nbformat.write(notebook, file)
    os.replace(f"{place}.new", place)


def write_page(args):
    """The page beside the executed notebook. Where it cannot be made, the job is none the worse."""
    if not args.page_site:
        return  # the log has said why
    place = f"{args.output[: -len('.ipynb')]}.html"
    made_by = os.path.dirname(os.path.abspath(__file__))
    folder = os.path.dirname(os.path.abspath(args.notebook))
    try:
        # Nothing of the job's environment but its Python.
        program = (sys.executable, "-I", "-S", "-c", PAGE, made_by, args.page_site)
        given = ("--notebook", args.output, "--folder", folder, "--bytes-max", args.page_bytes_max)
        done = subprocess.run((*program, *given), capture_output=True, timeout=PAGE_WITHIN_S, check=False)
        if done.returncode != 0:
            words = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise ValueError(words or f"what makes it ended with {done.returncode}")
        with open(f"{place}.new", "wb") as file:
            file.write(done.stdout)
        os.replace(f"{place}.new", place)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        print(f"There is no page of the notebook: {error}. The notebook itself is kept.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
