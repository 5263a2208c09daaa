"""An endpoint whose deployments multiply by three, in an installation of its own."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .installation import SIZE, Installation, installed

HERE = Path(__file__).parent


@contextmanager
def multiplying(cache: Path, endpoint: str, **different: Any) -> Generator[Installation]:
    """With the model `factor`, and a deployment `blue` that gets all requests; both are gone at the end.

    `different`: what `blue` has otherwise.
    """
    with installed(cache) as it:
        it.up()
        it.pid("mlflow", within_s=300)
        there = it.workspace
        there.models.create_or_update({"name": "factor", "type": "custom_model", "path": "model"}, folder=HERE)
        there.online_endpoints.create_or_update({"name": endpoint})
        made = deploy(it, endpoint, "blue", **different)
        assert made["provisioning_state"] == "Succeeded", f"{made}\n{it.told()}"
        there.online_endpoints.update(endpoint, {"traffic": {"blue": 100}})
        yield it
        it.workspace.online_endpoints.delete(endpoint)
        it.workspace.online_endpoints.wait_gone(endpoint, timeout_s=60)


def deploy(it: Installation, endpoint: str, name: str, *, folder: Path = HERE, **different: Any) -> dict[str, Any]:
    """A deployment, once it answers or has failed."""
    body = {
        "name": name,
        "endpoint_name": endpoint,
        "model": "azureml:factor@latest",
        "code_configuration": {"code": "scoring", "scoring_script": "score.py"},
        "environment": "azureml:minimal@latest",
        "instance_type": SIZE,
    }
    it.workspace.online_deployments.create_or_update(body | different, folder=folder)
    return it.workspace.online_deployments.wait(name, endpoint, timeout_s=120)


def remove(it: Installation, endpoint: str, name: str) -> None:
    it.workspace.online_deployments.delete(name, endpoint)
    it.workspace.online_deployments.wait_gone(name, endpoint, timeout_s=60)
