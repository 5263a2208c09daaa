"""Azure ML's names of curated environments, as they stand in YAML files, and what of ours stands for each."""

import pytest

from ultramarine import curated
from ultramarine.domain.azure_environments import OURS, environment_reference, is_azures, ours_for
from ultramarine.domain.errors import InvalidInput


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ("azureml:AzureML-sklearn-1.5-ubuntu22.04-py39-cpu@latest", "sklearn"),
        ("AzureML-sklearn-1.0-ubuntu20.04-py38-cpu:33", "sklearn"),
        ("azureml:AzureML-Scikit-learn-0.20.3:1", "sklearn"),
        ("azureml:AzureML-lightgbm-3.3-ubuntu20.04-py38-cpu@latest", "sklearn"),
        ("AzureML-xgboost-0.9-ubuntu18.04-py37-cpu", "sklearn"),
        ("azureml:AzureML-mlflow-ubuntu20.04-py38-cpu-inference@latest", "sklearn"),
        ("azureml:AzureML-acpt-pytorch-2.2-cuda12.1@latest", "pytorch"),
        ("azureml:AzureML-ACPT-pytorch-1.13-py38-cuda11.7-gpu:10", "pytorch"),
        ("AzureML-pytorch-1.10-ubuntu18.04-py38-cuda11-gpu", "pytorch"),
        ("azureml:AzureML-Minimal@latest", "minimal"),
        ("azureml:AzureML-minimal-ubuntu20.04-py38-cpu-inference:5", "inference"),
        ("azureml:AzureML-sklearn-1.0-ubuntu20.04-py38-cpu-inference:1", "inference"),
        ("AzureML-onnxruntime-1.6-ubuntu18.04-py37-cpu-inference", "inference"),
        ("azureml://registries/azureml/environments/sklearn-1.5/versions/10", "sklearn"),
        ("azureml://registries/azureml/environments/acpt-pytorch-2.2-cuda12.1/labels/latest", "pytorch"),
        ("azureml://registries/azureml/environments/minimal-py312-inference/versions/1", "inference"),
        ("azureml:AzureML-tensorflow-2.16-cuda11:3", None),
        ("azureml://registries/azureml/environments/tensorflow-2.16-cuda12/versions/1", None),
    ],
)
def test_a_name_of_azures_is_known_by_its_family(given: str, ours: str | None):
    reference = environment_reference(given, field="environment")
    assert is_azures(reference.name)
    assert ours_for(reference.name) == ours


def test_other_names_are_none_of_azures():
    reference = environment_reference("azureml:sklearn:2", field="environment")
    assert (reference.name, reference.version, is_azures(reference.name)) == ("sklearn", "2", False)
    for other in ("azureml://registries/ours/environments/x/versions/1", "azureml://registries/azureml/models/x"):
        with pytest.raises(InvalidInput, match=r"environment: .* is no reference"):
            environment_reference(other, field="environment")


def test_what_stands_for_azures_is_there():
    assert {name for name, one in curated.load().items() if not one.is_internal} >= set(OURS.values())
