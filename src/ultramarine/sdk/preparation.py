"""Bodies as the server takes them: checked here first, local files uploaded and named by their snapshot."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultramarine.domain import compute as computes
from ultramarine.domain.data import SNAPSHOT, DataSpec
from ultramarine.domain.endpoint import DeploymentSpec, EndpointSpec, InlineModel
from ultramarine.domain.environment import EnvironmentSpec
from ultramarine.domain.errors import InvalidInput, NotSupportedYet, TooLarge
from ultramarine.domain.inside import SCRIPT_BYTES_MAX, SetupScripts
from ultramarine.domain.job import JobSpec, is_uploaded
from ultramarine.domain.model import ModelSpec
from ultramarine.sdk.documents import read_text
from ultramarine.sdk.http import Client
from ultramarine.sdk.snapshots import Progress, take, upload

Body = dict[str, Any]
_ON_SERVER = (SNAPSHOT, "azureml:", "runs:/", "models:/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    """Where local files go, and where relative paths start."""

    client: Client
    workspace_path: str
    folder: Path
    progress: Progress | None = None

    def sent(self, path: str, *, what: str, wanted: str = "", ignoring: bool = False) -> str:
        """`snapshot:…` of a local path. `wanted`: `uri_file` or `uri_folder`, where only that will do."""
        local = self._local(path, what=what)
        taken = take(local, what=what, ignoring=ignoring)
        if wanted == f"uri_{'file' if taken.kind == 'folder' else 'folder'}":
            raise InvalidInput(
                f"{what}: {local} is a {taken.kind}, and the type is {wanted}.",
                hint=f"Write type: uri_{taken.kind}, or another path.",
            )
        return upload(self.client, self.workspace_path, taken, progress=self.progress)

    def script(self, path: str, *, what: str) -> str:
        """`snapshot:…` of a set-up script."""
        local = self._local(path, what=what)
        taken = take(local, what=what)
        if taken.kind != "file":
            raise InvalidInput(f"{what}: {local} is a folder, and no script.", hint="Name the script itself.")
        if (size := taken.entries[0].size) > SCRIPT_BYTES_MAX:
            raise TooLarge(
                f"{what}: {local} has {size} bytes; a set-up script may have {SCRIPT_BYTES_MAX}.",
                hint="Let the script fetch what is large.",
            )
        return upload(self.client, self.workspace_path, taken, progress=self.progress)

    def _local(self, path: str, *, what: str) -> Path:
        if "://" in path and not path.startswith("file://"):
            raise NotSupportedYet(
                f"{what}: {path} is read by nobody yet.", hint="Download it, and give the local path."
            )
        return self.folder / Path(path.removeprefix("file://")).expanduser()


def job(body: Mapping[str, Any], uploads: Uploads) -> Body:
    given = dict(body)
    if isinstance(given.get("environment"), Mapping):
        given["environment"] = _with_files_read(given["environment"], uploads.folder)
    spec = JobSpec.read(given, what=f"job {given['name']}" if "name" in given else "the job")
    made = spec.body()
    if spec.code is not None and not is_uploaded(spec.code):
        made["code"] = uploads.sent(spec.code, what="code", ignoring=True)
    for name, file in spec.file_inputs().items():
        if file.path is not None and not is_uploaded(file.path):
            made["inputs"][name]["path"] = uploads.sent(file.path, what=f"inputs.{name}.path", wanted=file.type)
    return made


def environment(body: Mapping[str, Any], uploads: Uploads) -> Body:
    return EnvironmentSpec.read(_with_files_read(body, uploads.folder), what="the environment").body()


def data(body: Mapping[str, Any], uploads: Uploads) -> Body:
    spec = DataSpec.read(body, what="the data asset")
    made = spec.body()
    if not spec.path.startswith(_ON_SERVER):
        made["path"] = uploads.sent(spec.path, what="path", wanted=spec.type)
    return made


def model(body: Mapping[str, Any], uploads: Uploads) -> Body:
    spec = ModelSpec.read(body, what="the model")
    made = spec.body()
    if not spec.path.startswith(_ON_SERVER):
        made["path"] = uploads.sent(spec.path, what="path")
    return made


def compute(body: Mapping[str, Any], uploads: Uploads) -> Body:
    made = computes.read_spec(dict(body)).body() | {"type": body.get("type")}
    return with_scripts_sent(made, uploads)


def with_scripts_sent(body: Mapping[str, Any], uploads: Uploads) -> Body:
    """A compute's body, or changes of one, with the files of its set-up scripts uploaded."""
    made = dict(body)
    if (given := made.get("setup_scripts")) is not None:
        spec = SetupScripts.read(given, what="setup_scripts")
        made["setup_scripts"] = spec.body()
        for name, script in spec.given.items():
            if script.path and not is_uploaded(script.path):
                sent = uploads.script(script.path, what=f"setup_scripts.{name}.path")
                made["setup_scripts"][name]["path"] = sent
    return made


def endpoint(body: Mapping[str, Any], _: Uploads) -> Body:
    return EndpointSpec.read(body, what="the endpoint").body()


def deployment(body: Mapping[str, Any], uploads: Uploads) -> Body:
    given = dict(body)
    if isinstance(given.get("environment"), Mapping):
        given["environment"] = _with_files_read(given["environment"], uploads.folder)
    spec = DeploymentSpec.read(given, what="the deployment")
    made = spec.body()
    if spec.code_configuration is not None and not is_uploaded(spec.code_configuration.code):
        made["code_configuration"]["code"] = uploads.sent(
            spec.code_configuration.code, what="code_configuration.code", ignoring=True
        )
    if isinstance(spec.model, InlineModel) and not spec.model.path.startswith(_ON_SERVER):
        made["model"]["path"] = uploads.sent(spec.model.path, what="model.path")
    return made


PREPARE: Mapping[str, Callable[[Mapping[str, Any], Uploads], Body]] = {
    "job": job,
    "environment": environment,
    "data": data,
    "model": model,
    "compute": compute,
    "online-endpoint": endpoint,
    "online-deployment": deployment,
}


def _with_files_read(body: Mapping[str, Any], folder: Path) -> Body:
    """The server gets contents: of `conda_file`, and of `requirements` where it names a file."""
    made = dict(body)
    conda, requirements = made.get("conda_file"), made.get("requirements")
    if isinstance(conda, str) and "\n" not in conda:
        made["conda_file"] = read_text(folder / Path(conda).expanduser())
    if isinstance(requirements, str):
        lines = (
            requirements.splitlines()
            if "\n" in requirements
            else read_text(folder / Path(requirements).expanduser()).splitlines()
        )
        made["requirements"] = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    return made
