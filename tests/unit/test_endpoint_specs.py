"""Azure ML's YAML of online endpoints and deployments: what is taken, what is refused, in which words."""

from typing import Any

import pytest
import yaml

from ultramarine.domain.data_collector import DataCollector
from ultramarine.domain.endpoint import (
    DeploymentSpec,
    EndpointSpec,
    InlineModel,
    ProbeSettings,
    TargetUtilization,
)
from ultramarine.domain.errors import InvalidInput, NotSupportedYet

#: In the form in which Azure ML's documentation shows them.
ENDPOINT = """
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json
name: my-endpoint
auth_mode: key
"""
BLUE = """
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json
name: blue
endpoint_name: my-endpoint
model:
  path: ../../model-1/model/
code_configuration:
  code: ../../model-1/onlinescoring/
  scoring_script: score.py
environment:
  conda_file: ../../model-1/environment/conda.yaml
  image: registry.example/azureml/openmpi4.1.0-ubuntu20.04:latest
instance_type: Standard_DS3_v2
instance_count: 1
"""
MLFLOW = """
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json
name: sklearn-deployment
endpoint_name: my-endpoint
model:
  name: mir-sample-sklearn-mlflow-model
  version: 1
  path: sklearn-diabetes/model
  type: mlflow_model
instance_type: Standard_DS3_v2
instance_count: 1
"""
FULL = """
name: blue
type: managed
endpoint_name: my-endpoint
model: azureml:model-1:1
code_configuration: {code: ./score, scoring_script: score.py}
environment: azureml:env-1:1
environment_variables: {WORKER_COUNT: 2, LOG_LEVEL: debug}
instance_type: Standard_DS3_v2
instance_count: 2
app_insights_enabled: true
egress_public_network_access: enabled
scale_settings:
  type: target_utilization
  min_instances: 1
  max_instances: 4
  polling_interval: 10
  target_utilization_percentage: 70
request_settings: {request_timeout_ms: 3000, max_concurrent_requests_per_instance: 2, max_queue_wait_ms: 100}
liveness_probe: {initial_delay: 10, period: 10, timeout: 2, success_threshold: 1, failure_threshold: 30}
readiness_probe: {initial_delay: 30, period: 5, timeout: 2, success_threshold: 2, failure_threshold: 3}
data_collector:
  collections:
    model_inputs: {enabled: 'True'}
    model_outputs: {enabled: 'False', sampling_rate: 0.5}
  rolling_rate: Hour
  request_logging: {capture_headers: [user-agent]}
description: The first one
tags: {team: red}
"""
MINIMAL = {"name": "blue", "endpoint_name": "e", "model": "m:1"}


def deployment(**different: Any) -> DeploymentSpec:
    return DeploymentSpec.read(MINIMAL | different, what="the deployment")


def endpoint(**different: Any) -> EndpointSpec:
    return EndpointSpec.read({"name": "e"} | different, what="the endpoint")


def test_azures_published_files_are_taken_as_they_are():
    assert EndpointSpec.read(yaml.safe_load(ENDPOINT), what="the endpoint").auth_mode == "key"
    blue = DeploymentSpec.read(yaml.safe_load(BLUE), what="the deployment")
    assert isinstance(blue.model, InlineModel)
    assert (blue.model.path, blue.model.type) == ("../../model-1/model/", "custom_model")
    named = DeploymentSpec.read(yaml.safe_load(MLFLOW), what="the deployment").model
    assert isinstance(named, InlineModel)
    assert (named.name, named.version) == ("mir-sample-sklearn-mlflow-model", "1")


def test_every_field_of_a_deployment_means_something():
    full = DeploymentSpec.read(yaml.safe_load(FULL), what="the deployment")
    assert full.scale_settings == TargetUtilization(
        type="target_utilization", min_instances=1, max_instances=4, polling_interval=10
    )
    assert full.elastic == full.scale_settings
    assert full.readiness_probe == ProbeSettings(initial_delay=30, period=5, success_threshold=2, failure_threshold=3)
    assert full.environment_variables == {"WORKER_COUNT": "2", "LOG_LEVEL": "debug"}
    assert full.data_collector is not None
    assert (full.data_collector.shares, full.data_collector.rolling_rate) == ({"model_inputs": 1.0}, "hour")
    assert DeploymentSpec.read(full.body(), what="what was kept") == full


def test_without_settings_they_are_azures():
    plain = deployment()
    assert plain.liveness_probe == ProbeSettings(
        initial_delay=10, period=10, timeout=2, success_threshold=1, failure_threshold=30
    )
    assert (plain.request_settings.request_timeout_ms, plain.request_settings.max_queue_wait_ms) == (5000, 500)
    assert plain.elastic is None
    assert deployment(scale_settings={"type": "default"}).elastic is None
    assert DataCollector(collections={}).shares == {}


@pytest.mark.parametrize(("written", "seconds"), [("PT10S", 10), ("PT1M30S", 90), ("PT2H", 7200), ("30", 30), (7, 7)])
def test_durations_are_seconds_or_iso_8601(written: object, seconds: int):
    assert deployment(liveness_probe={"period": written} if seconds < 3600 else {"initial_delay": written}) is not None
    assert deployment(liveness_probe={"initial_delay": written}).liveness_probe.initial_delay == seconds


def test_a_request_is_held_only_where_there_may_be_no_replica():
    scale = {"type": "target_utilization", "max_instances": 4, "scale_up_timeout": 30}
    assert deployment().hold_s == 0
    assert deployment(scale_settings=scale | {"min_instances": 1}).hold_s == 0
    assert deployment(scale_settings=scale | {"min_instances": 0}).hold_s == 30


@pytest.mark.parametrize(("written", "workers"), [("1", 1), (4, 4), ("auto", 3), ("AUTO", 3), (None, 1)])
def test_how_many_processes_answer_in_a_replica_is_azures_variable(written: object, workers: int):
    variables = {} if written is None else {"WORKER_COUNT": written}
    assert deployment(environment_variables=variables).workers(cpus=3) == workers


def test_what_speeds_a_model_up_can_be_turned_off():
    plain, off = deployment(), deployment(batching_enabled="False", onnx_enabled=False, smoke_test_enabled="no")
    assert (plain.batching_enabled, plain.onnx_enabled, plain.smoke_test_enabled) == (True, True, True)
    assert (off.batching_enabled, off.onnx_enabled, off.smoke_test_enabled) == (False, False, False)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"traffic": {"blue": 90}}, "add up to 90, not to 100"),
        ({"traffic": {"blue": 100, "green": 10}}, "add up to 110, not to 100"),
        ({"traffic": {"blue": 150, "green": -50}}, "each share of the traffic is 0 to 100 percent"),
        ({"mirror_traffic": {"green": 51}}, "0 to 50 percent of the traffic can be mirrored"),
        ({"mirror_traffic": {"green": 10, "red": 5}}, "to one deployment, not to 2 (green, red)"),
        (
            {"traffic": {"blue": 90, "green": 10}, "mirror_traffic": {"green": 10}},
            "green would get 10 % of the traffic and 10 % of it mirrored: it is one or the other",
        ),
        ({"auth_mode": "password"}, "auth_mode: Input should be 'key' or 'aml_token'"),
    ],
)
def test_what_cannot_be_of_an_endpoint_is_refused_in_words(wrong: dict[str, Any], words: str):
    with pytest.raises(InvalidInput) as refused:
        endpoint(**wrong)
    assert words in str(refused.value)
    assert not isinstance(refused.value, NotSupportedYet)


def test_traffic_may_be_mirrored_beside_shares_that_go_to_others():
    mirrored = endpoint(traffic={"blue": 100, "green": 0}, mirror_traffic={"green": 50})
    assert mirrored.mirror_traffic == {"green": 50}


@pytest.mark.parametrize("mode", ["aml_token", "AMLToken", "AML_TOKEN"])
def test_the_way_to_sign_in_is_read_in_azures_spellings(mode: str):
    assert endpoint(auth_mode=mode).auth_mode == "aml_token"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"scale_settings": {"type": "cron"}}, "'default', 'target_utilization'"),
        ({"scale_settings": {"min_instances": 1}}, "scale_settings"),
        (
            {"scale_settings": {"type": "target_utilization", "min_instances": 3, "max_instances": 2}},
            "min_instances is 3, more than max_instances, 2",
        ),
        (
            {"instance_count": 5, "scale_settings": {"type": "target_utilization", "max_instances": 2}},
            "instance_count is 5, and scale_settings say 1 to 2",
        ),
        *(
            (
                {"environment_variables": {"WORKER_COUNT": wrong}},
                f"WORKER_COUNT is '{wrong}', and can be 1 to 64, or auto",
            )
            for wrong in (0, 65, "two", "-1", "")
        ),
        ({"batching_enabled": "maybe"}, "batching_enabled: Input should be a valid boolean"),
        ({"onnx_enable": False}, "did you mean 'onnx_enabled'?"),
        ({"liveness_probe": {"period": 0}}, "liveness_probe.period: Input should be greater than or equal to 1"),
        ({"liveness_probe": {"period": "PT"}}, "liveness_probe.period"),
        ({"request_settings": {"request_timeout_ms": 180_001}}, "(seen: '180001')"),
        ({"data_collector": {"collections": {"model_inputs": {"enable": True}}}}, "did you mean 'enabled'?"),
        ({"data_collector": {"collections": {}, "sampling_rate": 2}}, "data_collector.sampling_rate"),
        ({"data_collector": {"collections": {}, "rolling_rate": "weekly"}}, "data_collector.rolling_rate"),
        ({"data_collector": {"collections": {"../x": {}}}}, "'../x' is no name of a collection"),
        (
            {"data_collector": {"collections": {}, "request_logging": {"capture_headers": ["Cookie"]}}},
            "Cookie holds a secret",
        ),
    ],
)
def test_what_cannot_be_of_a_deployment_is_refused_in_words(wrong: dict[str, Any], words: str):
    with pytest.raises(InvalidInput) as refused:
        deployment(**wrong)
    assert words in str(refused.value)
    assert not isinstance(refused.value, NotSupportedYet)


@pytest.mark.parametrize(
    ("later", "words"),
    [
        ({"type": "kubernetes"}, "type: 'kubernetes' is not supported yet"),
        ({"egress_public_network_access": "disabled"}, "'disabled' is not supported yet"),
        ({"model_mount_path": "/m"}, "'model_mount_path'"),
        ({"liveness_probe": {"path": "/live"}}, "'path'"),
        ({"data_collector": {"collections": {"a": {"data": {}}}}}, "'data'"),
    ],
)
def test_what_of_azures_is_not_there_yet_is_said_to_be_so(later: dict[str, Any], words: str):
    with pytest.raises(NotSupportedYet) as refused:
        deployment(**later)
    assert words in str(refused.value)
    assert refused.value.hint


@pytest.mark.parametrize("later", [{"auth_mode": "aad_token"}, {"public_network_access": "Disabled"}, {"identity": {}}])
def test_what_of_azures_endpoints_is_not_there_yet_is_said_to_be_so(later: dict[str, Any]):
    with pytest.raises(NotSupportedYet):
        endpoint(**later)
