"""A scikit-learn model behind an endpoint comes to answer from its ONNX form, which its next replica begins with."""

import json
import secrets
import shutil
import urllib.request
from pathlib import Path

import pytest
from tests.serving.scoring import environment

from .installation import installed, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_deployment_changes_over_to_the_onnx_form_and_the_next_begins_with_it(cache: Path, tmp_path: Path):
    shutil.copytree(environment.make().estimators / "iris_named", tmp_path / "model")
    with (tmp_path / "model" / "MLmodel").open("a") as described:
        described.write(f"# {secrets.token_hex(8)}\n")  # a model that no run of this test has made a form of before
    with installed(cache) as made:
        made.up()
        made.pid("mlflow", within_s=300)
        there = made.workspace
        there.models.create_or_update({"name": "iris", "type": "mlflow_model", "path": "model"}, folder=tmp_path)
        there.online_endpoints.create_or_update({"name": "flowers"})
        for name in ("blue", "green"):
            spec = {"name": name, "endpoint_name": "flowers", "model": "azureml:iris@latest"}
            spec |= {"environment": "azureml:sklearn@latest", "instance_type": "STANDARD_F1S"}
            there.online_deployments.create_or_update(spec)
            deployment = there.online_deployments.wait(name, "flowers", timeout_s=300)
            assert deployment["provisioning_state"] == "Succeeded", f"{deployment}\n{made.told()}"

            def log(name: str = name) -> str:
                return there.online_deployments.logs(name, "flowers")

            until(lambda: "Serves the ONNX form of the Pipeline" in log(), "the ONNX form serves", seconds=120)
            assert ("Loaded the sklearn (ONNX) flavour" in log()) is (name == "green")
        there.online_endpoints.update("flowers", {"traffic": {"blue": 50, "green": 50}})
        key = there.online_endpoints.credentials("flowers")["primaryKey"]
        asked = urllib.request.Request(
            there.online_endpoints.get("flowers")["scoring_uri"],
            json.dumps({"input_data": [[5.1, 3.5, 1.4, 0.2]]}).encode(),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        until(lambda: json.loads(urllib.request.urlopen(asked).read()) == ["setosa"], "an answer")
