"""The curated environment with PyTorch, as a job on this machine finds it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .installation import FINAL, Installation, installed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
BUILT_S_MAX = 400  #: on a new machine PyTorch is unpacked and compiled first


@pytest.fixture
def it(cache: Path) -> Iterator[Installation]:
    with installed(cache) as made:
        made.up()
        made.pid("mlflow", within_s=300)
        yield made


def test_a_net_is_trained_by_the_name_that_azures_file_has_and_answers_behind_an_endpoint(it: Installation):
    it.submit(
        "digits",
        "python digits.py",
        code="training",
        environment="azureml:AzureML-acpt-pytorch-2.2-cuda12.1@latest",
        compute="local",
    )
    job = it.comes_to("digits", *FINAL, within_s=BUILT_S_MAX)
    if "No package index of this site has torch" in job["reason"]:
        pytest.skip(job["reason"])
    assert job["status"] == "Completed", job
    said = b"".join(it.workspace.jobs.log("digits", attempt=1, rank="0", file="std_log.txt")).decode()
    assert "2.13.0+cpu on cpu: 0.9" in said
    there = it.workspace
    there.online_endpoints.create_or_update({"name": "reading"})
    blue = {"name": "blue", "endpoint_name": "reading", "model": "azureml:digits@latest"}
    there.online_deployments.create_or_update(blue | {"environment": "pytorch", "instance_type": "STANDARD_F1S"})
    deployment = there.online_deployments.wait("blue", "reading", timeout_s=120)
    assert deployment["provisioning_state"] == "Succeeded", f"{deployment}\n{it.told()}"
    asked = json.dumps({"input_data": [[0.0] * 64, [1.0] * 64]}).encode()
    answer = json.loads(there.online_endpoints.invoke("reading", asked, deployment_name="blue"))
    assert [len(row) for row in answer] == [10, 10], answer
