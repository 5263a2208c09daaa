"""Runs at the start of each Python of a job, from the folder that the job's PYTHONPATH ends with.

Its whole work is to be there when MLflow's modules are imported: a Python that never imports MLflow is left as it is.
It has to run in any Python that a job brings along, and must never be the reason why one does not start.
"""

import importlib
import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(__file__)
_CHANGED = ("mlflow.models.model", "mlflow.utils.autologging_utils", "mlflow.utils.requirements_utils")


class _Watch:
    """Finds nothing by itself: it lets the others find, and has a module changed once it was executed."""

    def find_spec(self, name, path=None, target=None):
        if name not in _CHANGED:
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            _change_afterwards(spec.loader)
        return spec


def _change_afterwards(loader):
    execute = loader.exec_module

    def execute_and_change(module):
        execute(module)
        try:
            importlib.import_module("ultramarine_in_job").change(module)
        except Exception:  # of a version that is not as we know them: it works as it would anywhere else
            return

    try:
        loader.exec_module = execute_and_change
    except AttributeError:
        return


def _go_on():
    """Our name hides the `sitecustomize` of the environment: it is run as if we were not there."""
    found = importlib.machinery.PathFinder.find_spec("sitecustomize", [at for at in sys.path if at != _HERE])
    if found is not None and found.loader is not None:
        module = sys.modules["sitecustomize"] = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)


sys.meta_path.insert(0, _Watch())
_go_on()
