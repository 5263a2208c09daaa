"""From a deployment to what its replicas run: the model's files, an environment, the scoring server."""

import json
import re
from typing import Any

from ultramarine.domain.endpoint import REQUEST_TIMEOUT_MS_MAX, Deployment, DeploymentSpec
from ultramarine.domain.environment import EnvironmentSpec
from ultramarine.domain.errors import InvalidInput
from ultramarine.services import elsewhere, environments, models
from ultramarine.services.context import Context
from ultramarine.services.snapshots import get_snapshot, uploaded
from ultramarine.tracking.registry import ModelVersion

SERVING = "serving"  #: the curated environment with the scoring server's own packages
ONNX = "onnx"  #: the one with what makes and runs the ONNX form of a model
ZIP = "serving.zip"
HTTP = "http"  #: what it listens for, in the runner's words
_SKLEARN = re.compile(r"^  sklearn:", re.MULTILINE)  # the flavour, in an MLmodel file
_PYTHON_LINE = re.compile(r"^python:\s*['\"]?(3\.\d+)", re.MULTILINE)


async def resolve(ctx: Context, deployment: Deployment) -> dict[str, Any]:
    """Resolve a deployment's model and environment, once.

    From now on its replicas need neither MLflow nor the registry.
    """
    model = await models.by_reference(ctx, deployment.workspace, deployment.spec.model, field="model")
    snapshot = await models.fetch(ctx, deployment.workspace, model)
    environment = await _environment(ctx, deployment, model, snapshot)
    return {
        "model": {"name": model.name, "version": models.version_of(model), "snapshot": snapshot},
        "environment": environment,
        "has_onnx_form": deployment.spec.code_configuration is None and _is_sklearn(ctx, snapshot),
        "code": None
        if deployment.spec.code_configuration is None
        else uploaded(ctx, deployment.spec.code_configuration.code, field="code"),
        "entry": None
        if deployment.spec.code_configuration is None
        else deployment.spec.code_configuration.scoring_script,
    }


async def _environment(ctx: Context, deployment: Deployment, model: ModelVersion, snapshot: str) -> dict[str, str]:
    """The one that the deployment names; else that of the job which made the model; else what the model asks for."""
    given: str | EnvironmentSpec | None = deployment.spec.environment
    if given is None and (of_job := model.tags.get(models.ENVIRONMENT)):
        workspace, _, named = of_job.partition("/")
        name, _, version = named.partition(":")
        return {"workspace": workspace, "name": name, "version": version}
    async with ctx.begin() as tx:
        found = await environments.for_run(
            ctx, tx, deployment.workspace, given or _asked_for(ctx, snapshot), field="environment"
        )
    return {"workspace": found.workspace, "name": found.name, "version": found.version}


def _asked_for(ctx: Context, snapshot: str) -> EnvironmentSpec:
    """What an MLflow model says that it needs: `requirements.txt`, and the Python of `python_env.yaml`."""
    files = {entry.path: entry.sha256 for entry in get_snapshot(ctx, snapshot).files}
    if "requirements.txt" not in files:
        raise InvalidInput(
            "environment: the model says nothing of what it needs.", hint="Name an environment in the deployment."
        )
    lines = ctx.blobs.read(files["requirements.txt"]).decode().splitlines()
    python = (
        _PYTHON_LINE.search(ctx.blobs.read(files["python_env.yaml"]).decode()) if "python_env.yaml" in files else None
    )
    wanted = python.group(1) if python and python.group(1) in ctx.site.pythons else None
    return EnvironmentSpec(requirements=[line for line in lines if line.strip()], python=wanted)


def _is_sklearn(ctx: Context, snapshot: str) -> bool:
    """Whether it is a model of scikit-learn, which may have an ONNX form. The model itself is not looked at here."""
    files = {entry.path: entry.sha256 for entry in get_snapshot(ctx, snapshot).files}
    return "MLmodel" in files and _SKLEARN.search(ctx.blobs.read(files["MLmodel"]).decode()) is not None


def replica_spec(deployment: Deployment, *, zip_sha256: str, is_elsewhere: bool, cpus: float) -> dict[str, Any]:
    """What the runner needs to run one replica: the scoring server in the model's environment.

    It listens on a Unix socket, or elsewhere than on the gateway's machine at a port (`services/elsewhere.py`).
    `cpus`: of its instance_type; its weight where all CPUs are busy.
    """
    serving = deployment.serving
    argv = ["{{python}}", f"{{{{file:{ZIP}}}}}", "--site", "{{site:0}}", *_listening(is_elsewhere)]
    argv += [
        "--model-dir",
        "{{input:model}}",
        "--name",
        serving["model"]["name"],
        "--version",
        serving["model"]["version"],
    ]
    # request_settings may change while a replica runs: the gateway says with each request what holds.
    argv += ["--deployment", deployment.name, "--request-timeout-ms", str(REQUEST_TIMEOUT_MS_MAX)]
    argv += _switches(deployment.spec, cpus)
    behind = [environments.internal(SERVING)]
    if serving.get("has_onnx_form") and deployment.spec.onnx_enabled:
        argv += ["--onnx-site", "{{site:1}}", "--cache", "{{cache}}/onnx"]
        behind.append({**environments.internal(ONNX), "is_optional": True})
    if serving["code"] is not None:
        argv += ["--code", ".", "--entry", serving["entry"]]
    if deployment.spec.collected:
        argv += ["--collect-into", "{{collected}}", "--collect", _collecting(deployment)]
    return {
        "argv": argv,
        "code": None if serving["code"] is None else {"snapshot": serving["code"]},
        "files": [{"path": ZIP, "sha256": zip_sha256}],
        "inputs": [
            {
                "name": "model",
                "variable": "AZUREML_MODEL_DIR",
                "snapshot": serving["model"]["snapshot"],
                "mode": "ro_mount",
                "kind": "uri_folder",
            }
        ],
        "outputs": [],
        "environment": serving["environment"],
        "behind": behind,
        "environment_variables": dict(deployment.spec.environment_variables),
        "processes_per_node": 1,
        "sockets": [] if is_elsewhere else [HTTP],
        "ports": [HTTP] if is_elsewhere else [],
        "collects": {"endpoint": deployment.endpoint, "deployment": deployment.name}
        if deployment.spec.collected
        else None,
        "limits": {
            "cpus": cpus,
            "of": f"its instance_type {deployment.spec.instance_type}",
            "hint": "Name a larger instance_type: um compute list-sizes",
        },
    }


def _listening(is_elsewhere: bool) -> list[str]:
    if not is_elsewhere:
        return ["--socket", f"unix:{{{{socket:{HTTP}}}}}"]
    secret, tls = f"{{{{secret:{elsewhere.SECRET}}}}}", f"{{{{secret:{elsewhere.CERTIFICATE}}}}}"
    return ["--socket", f"{{{{port:{HTTP}}}}}", "--tls", tls, "--secret", secret]


def _switches(spec: DeploymentSpec, cpus: float) -> list[str]:
    """Where they are as always, nothing: a replica's command stays as short as it can be."""
    workers = spec.workers(int(cpus))
    return [
        *(["--workers", str(workers)] if workers > 1 else []),
        *([] if spec.batching_enabled else ["--max-batch-rows", "1"]),
        *([] if spec.smoke_test_enabled else ["--no-smoke-test"]),
    ]


def _collecting(deployment: Deployment) -> str:
    asked = deployment.spec.data_collector
    assert asked is not None, "only of deployments that collect"
    of = f"/workspaces/{deployment.workspace}/onlineEndpoints/{deployment.endpoint}/deployments/{deployment.name}"
    wanted = {
        "collections": deployment.spec.collected,
        "rolling": asked.rolling_rate,
        "headers": asked.request_logging.capture_headers,
        "source": of,
    }
    return json.dumps(wanted, separators=(",", ":"))
