"""Write docs/reference/yaml.md from the specifications; a test holds the page to them."""

# ruff: noqa: E501 (a paragraph and a row of a table are one line)

import types
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ultramarine.domain.compute import NOT_YET, ClusterSpec
from ultramarine.domain.data import DataSpec
from ultramarine.domain.data_collector import Collection, DataCollector, RequestLogging
from ultramarine.domain.distribution import Mpi, PyTorch, Ray, TensorFlow
from ultramarine.domain.endpoint import (
    CodeConfiguration,
    DefaultScale,
    DeploymentSpec,
    EndpointSpec,
    InlineModel,
    ProbeSettings,
    RequestSettings,
    TargetUtilization,
)
from ultramarine.domain.environment import EnvironmentSpec
from ultramarine.domain.inside import CustomApplication, Script, SetupScripts
from ultramarine.domain.instance import InstanceSpec, KeepAwakeSpec, OnBehalfOf, ResizeSpec
from ultramarine.domain.job import Input, JobSpec, Limits, Output, QueueSettings, Resources
from ultramarine.domain.model import ModelSpec
from ultramarine.domain.quota import Quota
from ultramarine.domain.spec import Spec
from ultramarine.domain.start_stop import InstanceSchedules, RecurrencePattern, StartStop, StartStopTrigger
from ultramarine.services.identity import WorkspaceSpec

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "yaml.md"
HEAD = """# YAML

<!-- Made by tools/write_yaml_reference.py from the specifications. -->

The file of a thing is Azure ML's CLI v2 YAML, and it is the body of the REST API and the argument of the Python client too. An unknown field is refused
with the nearest known one; a field of Azure's that is not supported yet is refused by name. `$schema` is read over. What is **ours** does not exist in
Azure ML. `--set FIELD=VALUE` sets a field over the file's. Relative paths start at the file's folder.

References are written `name:version` or `name@latest` (the name alone means the newest), with or without `azureml:` before them. `${{inputs.NAME}}` and `${{outputs.NAME}}` in a command
become the value or the path; nothing else may stand in `${{…}}`.
"""
TAGS = {"description": "free text", "tags": "names and values of your own"}
NAME = "unique in its workspace; letters, digits, `-`, `_`, `.`; `um … -n NAME` sets it too"
VERSION = "any text; the next number where not given"
WORDS: Mapping[type[Spec], Mapping[str, str]] = {
    WorkspaceSpec: TAGS | {"name": NAME, "quota": "**ours**: what it may hold at once; an owner sets it"},
    Quota: {
        "nodes": "nodes of its clusters, busy or idle",
        "cpus": "CPUs of those nodes, and of its runs on `local`",
        "gpus": "GPUs of both",
    },
    JobSpec: TAGS
    | {
        "type": "the only kind of job for now",
        "name": NAME + "; made up where not given",
        "command": "run by bash (sh where there is none) in the folder of the code; needed, or `notebook`",
        "notebook": "**ours**: in place of `command`, a notebook below `code` that is executed; what came of it is the output `notebook` ([how to](../how-to/run-a-notebook.md))",
        "parameters": "**ours**: by name, values that the notebook gets; a text may hold `${{inputs.NAME}}`",
        "code": "a folder (or file) that is uploaded; files named in its `.gitignore` or `.amlignore` are left out",
        "inputs": "by name: a literal, or a file or folder (below)",
        "outputs": "by name: a folder or file that the command writes; there is always `default`, the folder `outputs` of the code",
        "environment": "`sklearn@latest`, `mine:3`, or an environment written out here",
        "environment_variables": "set for the command",
        "compute": "a cluster, or `local`: the machine itself",
        "resources": "how many nodes",
        "distribution": "how processes find each other; one process a node where not given",
        "limits": "when it is ended",
        "queue_settings": "its place in the queue",
        "experiment_name": "where MLflow shows it",
        "display_name": "shown in MLflow as the run's name",
        "retries": "**ours**: how often it is tried again when its own command fails. An attempt that is lost with its node is tried again in any case, three times at most",
    },
    Input: {
        "type": "a file, a folder, or what kind of literal",
        "path": "a local path (uploaded), `azureml:DATA:VERSION`, `azureml://jobs/JOB/outputs/NAME`",
        "mode": "`ro_mount`: a read-only link into the node's cache; `download`: a copy of its own",
        "optional": "it may be missing; a part of the command in `$[[ ]]` is left out then",
        "value": "of a literal with a `type`",
    },
    Output: {
        "type": "what is kept of it",
        "mode": "both are uploaded when the command has ended",
        "description": "free text",
    },
    Resources: {
        "instance_count": "nodes; all of them start together or none",
        "cpus": "**ours**: CPUs of each node. With any of the three the run takes a part of its nodes, and others share them; else whole nodes (on `local`: the part of the machine that `cpu-1` is)",
        "memory": "**ours**: memory of each node, as `512Mi` or `4Gi`. What is not given of `cpus` and `memory` goes with the larger part that is",
        "gpus": "**ours**: GPUs of each node; none where not given",
    },
    PyTorch: {
        "type": "sets `RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `NODE_RANK`, `MASTER_ADDR`, `MASTER_PORT`",
        "process_count_per_instance": "processes on each node",
    },
    TensorFlow: {
        "type": "sets `TF_CONFIG`",
        "worker_count": "workers on all nodes together; one a node where not given",
        "parameter_server_count": "parameter servers on all nodes together, beside the workers or on nodes of their own",
    },
    Mpi: {
        "type": "the command is run by `mpiexec`, which the environment brings along (`mpich`)",
        "process_count_per_instance": "processes on each node",
    },
    Ray: {"type": "a Ray of the job's own over its nodes (`ray` is in the environment); the command runs on the first"},
    Limits: {"timeout": "from the start of the command; then it is ended and Failed"},
    QueueSettings: {
        "job_tier": "how firmly it holds its place; `spot` gives way to any other and is queued again, `null` is `standard`",
        "priority": "of one tier, higher ones start first",
    },
    ClusterSpec: TAGS
    | {
        "type": "`amlcompute` trains; `inferencecluster` holds replicas of online deployments, spread over its nodes",
        "name": NAME,
        "size": "of one node: `um compute list-sizes`; Azure's names are fitted to the machine",
        "min_instances": "nodes that stay when nothing runs",
        "max_instances": "nodes at most",
        "idle_time_before_scale_down": "then an idle node is given back; at once when somebody else waits for the room",
        "tier": "`low_priority`: all that runs on it gives way, as with `job_tier: spot`",
        "provider": "**ours**: where nodes come from: `local` is this machine, `ray` the Ray that the installation is set up with",
    },
    InstanceSpec: TAGS
    | {
        "type": "a machine of one person's own, with JupyterLab",
        "name": NAME,
        "size": "of its machine: `um compute list-sizes`; `um compute resize` changes it",
        "idle_time_before_shutdown_minutes": "it stops when nothing was done on it for so long; `null`: it does not stop by itself. On here; at Azure ML it is off unless set",
        "schedules": "when it starts and stops by itself",
        "setup_scripts": "what is run once in its life, and at each start; a change counts from the next start",
        "custom_applications": "**ours**: programs beside JupyterLab that browsers reach by their names, ten at most; a change counts from the next start",
        "create_on_behalf_of": "whose it is, where an operator makes it for somebody else",
        "provider": "**ours**: where its machine comes from: `local` is this one",
    },
    OnBehalfOf: {
        "user": "**ours**: the subject of that person's tokens, in place of Azure's `user_tenant_id` and `user_object_id`"
    },
    SetupScripts: {
        "creation_script": "once, before it comes up for the first time; if it fails, the instance is `SetupFailed`, and `um compute start` runs it again",
        "startup_script": "at each start, before JupyterLab, which starts also when it fails",
    },
    Script: {
        "path": "a local file of at most 256 KiB, run by bash; it is uploaded",
        "command": "run by bash; beside a `path` it is that script's arguments",
        "timeout_minutes": "after which it is ended, and has failed",
    },
    CustomApplication: {
        "name": "in its address: `/instances/WORKSPACE/NAME/proxy/APPLICATION/`; small letters, digits and `-`, 32 at most",
        "command": "**ours**, in place of Azure's `image`: run by bash in the home folder, and again when it ends; with `PORT` and `BASE_PATH`",
        "port": "where it listens, at 127.0.0.1; no other instance of the machine may have it",
    },
    InstanceSchedules: {
        "compute_start_stop": "of several at one moment the last one counts; what was missed while the server was down is made up for once"
    },
    StartStop: {
        "action": "what is asked of it",
        "trigger": "when",
        "state": "a disabled one is kept and does nothing",
    },
    StartStopTrigger: {
        "type": "which of the fields below say when",
        "expression": "of `cron`: minute, hour, day of month, month, day of week. A time that clocks skip comes right after; one that comes twice counts the first time",
        "frequency": "of `recurrence`",
        "interval": "of `recurrence`: every so many of them, from `start_time` on, or from when the instance was made",
        "schedule": "of `recurrence` by `day`, `week` or `month`: at which times; else that of its begin",
        "start_time": "not before; in `time_zone` where it has none of its own",
        "end_time": "not after",
        "time_zone": "as `Europe/Berlin`, or as Windows and Azure write it: `W. Europe Standard Time`",
    },
    RecurrencePattern: {
        "hours": "one, or a list",
        "minutes": "one, or a list: each of them in each of the hours",
        "week_days": "with `frequency: week`: `monday`, …",
        "month_days": "with `frequency: month`",
    },
    ResizeSpec: {"size": "of its next machine"},
    KeepAwakeSpec: {"hours": "from now; 0 takes it back"},
    EnvironmentSpec: TAGS
    | {
        "name": NAME,
        "version": VERSION,
        "conda_file": "a conda file, or its content; names are translated to PyPI's, and what cannot be is refused",
        "image": "one of Azure ML's base images (`…/azureml/openmpi…`, `minimal…`, `base…`), beside a `conda_file`: they hold no packages, and the machine itself takes their place. Any other is refused",
        "requirements": "**ours**: a requirements file, or its lines",
        "python": "**ours**: with `requirements`",
    },
    DataSpec: TAGS | {"name": NAME, "version": VERSION, "type": "a file or a folder", "path": "a local path"},
    ModelSpec: TAGS
    | {
        "name": NAME,
        "version": VERSION,
        "type": "`mlflow_model`: a folder with a file `MLmodel`",
        "path": "a local path, `azureml://jobs/JOB/outputs/artifacts/paths/PATH` (what was logged), `azureml://jobs/JOB/outputs/NAME`, or `runs:/JOB/PATH`",
    },
    EndpointSpec: TAGS
    | {
        "name": NAME + "; part of its address",
        "auth_mode": "how callers sign in",
        "traffic": "percent by deployment; together 100, or nothing",
        "mirror_traffic": "percent of the traffic that is sent to one deployment too, whose answers nobody gets: 50 at most, and to one that has no traffic of its own",
        "public_network_access": "who reaches the gateway reaches its endpoints",
    },
    DeploymentSpec: TAGS
    | {
        "name": NAME,
        "endpoint_name": "the endpoint that it stands behind",
        "type": "as Azure ML writes it",
        "model": "a registered model, or one written out here",
        "code_configuration": "a scoring script; an MLflow model needs none",
        "environment": "where not given: that of the job which made the model, else what the model itself asks for",
        "environment_variables": "set for the scoring script",
        "instance_type": "a size; on `local` replicas reserve its memory and a tenth of a CPU, on an `inferencecluster` all of it",
        "instance_count": "replicas; with `target_utilization` how many to begin with",
        "scale_settings": "whether replicas follow the requests",
        "compute": "**ours**: where replicas run; `local` is the machine itself, or an `inferencecluster`",
        "request_settings": "limits of one request",
        "liveness_probe": "a replica that does not answer 200 at `/health/live` is dead, and is replaced; one that still loads does",
        "readiness_probe": "a replica that does not answer 200 at `/health/ready` is given no requests until it does again. That a new one is ready, and that one has died, the gateway finds out by itself, and at once",
        "data_collector": "what of requests and answers is kept as files: [how to](../how-to/collect-data.md)",
        "batching_enabled": "**ours**: `false`: each request is a call of the model of its own; a scoring script's are in any case",
        "onnx_enabled": "**ours**: `false`: a scikit-learn model never answers from its [ONNX form](onnx-form.md)",
        "smoke_test_enabled": "**ours**: `false`: a replica takes requests although it has not answered the model's [own example](scoring.md#the-smoke-test)",
        "app_insights_enabled": "rates, errors and latencies of every deployment are in `/metrics` and in `show`, whatever is written here",
        "egress_public_network_access": "a replica reaches what its machine reaches",
    },
    InlineModel: TAGS
    | {
        "name": "it is registered under this name, else under one made of its content",
        "version": "`1` where not given; one that is there already is used",
        "type": "`mlflow_model`: a folder with a file `MLmodel`",
        "path": "as of a model",
    },
    CodeConfiguration: {
        "code": "a folder that is uploaded",
        "scoring_script": "a file in it with `init()` and `run(data)`",
    },
    RequestSettings: {
        "request_timeout_ms": "then 504",
        "max_concurrent_requests_per_instance": "requests that a replica is given at a time. Azure's default is 1; here it is 64, for requests that wait together are answered in one call",
        "max_queue_wait_ms": "how long a request may wait for a replica; then 429",
        "idempotent": "**ours**: a request that was sent may be sent again to another replica when the first one dies over it",
    },
    DefaultScale: {"type": "as many replicas as `instance_count` says"},
    TargetUtilization: {
        "type": "replicas follow the requests in flight",
        "min_instances": "0 is **ours**: nothing runs while nobody asks, and the next request waits for a replica",
        "max_instances": "replicas at most",
        "target_utilization_percentage": "of `max_concurrent_requests_per_instance`: how many requests each replica shall have in flight",
        "polling_interval": "how often it is decided",
        "cooldown": "**ours**: fewer replicas must have been enough for so long before any is taken away",
        "idle_time_before_scale_down": "**ours**: with `min_instances: 0` the last replica goes when nobody has asked for so long",
        "scale_up_timeout": "**ours**: with `min_instances: 0` so long a request waits for the first replica; then 503. A request sets its own by the header `X-Scale-Up-Timeout`",
    },
    ProbeSettings: {
        "initial_delay": "from the start of the replica to the first probe",
        "period": "between probes",
        "timeout": "then a probe has failed",
        "success_threshold": "so many in a row, and it is well again",
        "failure_threshold": "so many in a row, and it is not",
    },
    DataCollector: {
        "collections": "by name: `model_inputs`, `model_outputs`, `request`, `response`, or the script's own",
        "sampling_rate": "which part of the requests",
        "rolling_rate": "how often a new file begins",
        "request_logging": "what else is kept of a request",
    },
    Collection: {"enabled": "whether it is kept", "sampling_rate": "where it is another for this one"},
    RequestLogging: {
        "capture_headers": "headers that are kept with `request` and `response`; never those that hold secrets"
    },
}
SECTIONS: Mapping[str, tuple[str, tuple[type[Spec], ...]]] = {
    "Workspace": ("um workspace create -f workspace.yml", (WorkspaceSpec, Quota)),
    "Job": (
        "um job create -f job.yml",
        (JobSpec, Input, Output, Resources, PyTorch, TensorFlow, Mpi, Ray, Limits, QueueSettings),
    ),
    "Compute": ("um compute create -f cluster.yml", (ClusterSpec,)),
    "Compute instance": (
        "um compute create -f instance.yml",
        (
            InstanceSpec,
            OnBehalfOf,
            SetupScripts,
            Script,
            CustomApplication,
            InstanceSchedules,
            StartStop,
            StartStopTrigger,
            RecurrencePattern,
            ResizeSpec,
            KeepAwakeSpec,
        ),
    ),
    "Environment": ("um environment create -f environment.yml", (EnvironmentSpec,)),
    "Data": ("um data create -f data.yml", (DataSpec,)),
    "Model": ("um model create -f model.yml", (ModelSpec,)),
    "Online endpoint": ("um online-endpoint create -f endpoint.yml", (EndpointSpec,)),
    "Online deployment": (
        "um online-deployment create -f deployment.yml",
        (
            DeploymentSpec,
            InlineModel,
            CodeConfiguration,
            DefaultScale,
            TargetUtilization,
            RequestSettings,
            ProbeSettings,
            DataCollector,
            Collection,
            RequestLogging,
        ),
    ),
}
PLACES: Mapping[type[Spec], str] = {
    Quota: "quota",
    Input: "inputs.NAME",
    Output: "outputs.NAME",
    Resources: "resources",
    PyTorch: "distribution` of type `pytorch",
    TensorFlow: "distribution` of type `tensorflow",
    Mpi: "distribution` of type `mpi",
    Ray: "distribution` of type `ray",
    OnBehalfOf: "create_on_behalf_of",
    SetupScripts: "setup_scripts",
    Script: "setup_scripts.creation_script`, `.startup_script",
    CustomApplication: "custom_applications",
    InstanceSchedules: "schedules",
    StartStop: "schedules.compute_start_stop",
    StartStopTrigger: "schedules.compute_start_stop.trigger",
    RecurrencePattern: "schedules.compute_start_stop.trigger.schedule",
    ResizeSpec: "POST …/computes/NAME/resize",
    KeepAwakeSpec: "POST …/computes/NAME/keep-awake",
    Limits: "limits",
    QueueSettings: "queue_settings",
    CodeConfiguration: "code_configuration",
    RequestSettings: "request_settings",
    InlineModel: "model` that is written out, `model",
    DefaultScale: "scale_settings` of type `default",
    TargetUtilization: "scale_settings` of type `target_utilization",
    ProbeSettings: "liveness_probe` and `readiness_probe",
    DataCollector: "data_collector",
    Collection: "data_collector.collections.NAME",
    RequestLogging: "data_collector.request_logging",
}


def page() -> str:
    return "\n".join([HEAD, *(line for title in SECTIONS for line in _section(title))]).rstrip() + "\n"


def _section(title: str) -> Iterator[str]:
    command, specs = SECTIONS[title]
    yield f"## {title}\n\n`{command}`\n"
    for spec in specs:
        if spec in PLACES:
            yield f"### `{PLACES[spec]}`\n"
        yield "| field | type | default | |\n|---|---|---|---|"
        yield from (_row(spec, name, field) for name, field in spec.model_fields.items())
        if spec.not_yet:
            yield (
                "\nOf Azure ML's and not supported yet: "
                + ", ".join(f"`{name}`" for name in sorted(spec.not_yet))
                + "."
            )
        if spec is ClusterSpec:
            yield (
                "\nOther values of `type` that are not supported yet: "
                + ", ".join(f"`{kind}`" for kind in NOT_YET)
                + "."
            )
        yield ""


def _row(spec: type[Spec], name: str, field: FieldInfo) -> str:
    limits = _limits(field)
    kind = kind_of(field.annotation) + (f", {limits}" if limits else "")
    cells = (f"`{field.alias or name}`", kind, _default(field), WORDS[spec][name])
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def kind_of(annotation: Any) -> str:
    """A type in words: `text or number`, `a or b`, `list of text`."""
    origin, given = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in given)
    if origin in (Union, types.UnionType):
        kinds = dict.fromkeys(kind_of(each) for each in given if each is not type(None))
        literals = ("text", "whole number", "number", "`true` or `false`")
        if set(literals) <= set(kinds):
            kinds = dict.fromkeys(["literal", *(kind for kind in kinds if kind not in literals)])
        return " or ".join(kinds)
    if origin is list:
        return f"list of {kind_of(given[0])}"
    if origin is dict:
        return "mapping" if given[1] is Any else f"mapping of {kind_of(given[1])}"
    if origin is Annotated:
        return kind_of(given[0])
    names: Mapping[Any, str] = {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "`true` or `false`",
        datetime: "time",
    }
    return names.get(annotation, "mapping")


def _limits(field: FieldInfo) -> str:
    low = next((str(each.ge) for each in field.metadata if isinstance(each, annotated_types.Ge)), None)
    high = next((str(each.le) for each in field.metadata if isinstance(each, annotated_types.Le)), None)
    between = [] if low is None else [f"≥ {low}"] if high is None else [f"{low} to {high}"]
    unit = ["seconds"] if field.description == "seconds" else []
    return ", ".join([*between, *unit])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**needed**"
    if field.default in (None, PydanticUndefined) or field.default in ("", {}) or isinstance(field.default, Spec):
        return ""
    value = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
    return f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
