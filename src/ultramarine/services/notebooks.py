"""Notebooks as jobs: what the runner is told to run where a job names a notebook instead of a command."""

import json
from typing import Any

from ultramarine.domain.expression import Expressions
from ultramarine.domain.job import NOTEBOOK, JobSpec
from ultramarine.services import environments

KERNEL = "kernel"  #: the curated environment with what makes any environment a kernel
PAGE = "page"  #: the one with what makes a page of an executed notebook
PAGE_BYTES_MAX = 32 * 1024**2
MODULE = "ultramarine_notebook"  #: of `tracking/in_job`


def run_fields(spec: JobSpec, expressions: Expressions) -> dict[str, Any]:
    """In place of a command."""
    assert spec.notebook is not None, "only of a job that names one"
    given = {
        name: expressions.value(value, field=f"parameters.{name}") if isinstance(value, str) else value
        for name, value in spec.parameters.items()
    }
    name = spec.notebook.rpartition("/")[2]
    return {
        "argv": [
            *("{{python}}", "-m", MODULE),
            *("--site", "{{site:0}}"),
            *("--page-site", "{{site:1}}"),
            *("--page-bytes-max", str(PAGE_BYTES_MAX)),
            *("--notebook", spec.notebook),
            *("--parameters", json.dumps(given)),
            *("--output", f"{{{{output:{NOTEBOOK}}}}}/{name}"),
            *("--socket", f"{{{{socket:{KERNEL}}}}}"),
        ],
        "behind": [environments.internal(KERNEL), {**environments.internal(PAGE), "is_optional": True}],
        "sockets": [KERNEL],  # its kernel's lie in the same folder
    }
