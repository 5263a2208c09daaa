"""A cell is executed by a kernel of this environment."""

import sys

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient


class Kernel(AsyncKernelManager):
    @property
    def kernel_spec(self):
        return KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])


notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(6 * 7)")])
NotebookClient(notebook, kernel_manager_class=Kernel, timeout=60).execute()
assert notebook.cells[0].outputs[0]["text"] == "42\n", notebook.cells[0].outputs
