"""Registered models. The registry itself is MLflow's; this is what users write."""

import re
from typing import ClassVar, Literal

from pydantic import Field

from ultramarine.domain.errors import InvalidInput
from ultramarine.domain.spec import Spec

_JOB_OUTPUT = re.compile(r"azureml://jobs/(?P<job>[^/]+)/outputs/(?P<output>[^/]+)(?:/paths)?(?:/(?P<path>.*))?")


class ModelSpec(Spec):
    not_yet: ClassVar[frozenset[str]] = frozenset({"stage", "flavors", "properties", "datastore"})
    name: str
    version: str | None = Field(default=None, coerce_numbers_to_str=True)
    type: Literal["mlflow_model", "custom_model"] = "custom_model"
    path: str
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict[str, str])


def job_output(path: str) -> tuple[str, str, str] | None:
    """`azureml://jobs/JOB/outputs/OUTPUT[/paths][/PATH]` as (job, output, path), or None for another kind of path."""
    found = _JOB_OUTPUT.fullmatch(path)
    return None if found is None else (found["job"], found["output"], (found["path"] or "").strip("/"))


def not_a_model(path: str) -> InvalidInput:
    return InvalidInput(
        f"path: {path[:200]!r} is no path of a model.",
        hint="Write a local folder, azureml://jobs/JOB/outputs/artifacts/paths/model, "
        "azureml://jobs/JOB/outputs/NAME or runs:/JOB/model.",
    )
