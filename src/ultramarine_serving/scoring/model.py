"""Loads an MLflow model by its flavour, without importing mlflow where that is possible (it takes seconds)."""

from __future__ import annotations

import importlib
import pickle
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from . import forests, frames
from .bodies import Arrays, BadBody, Body, Table
from .frames import Shape
from .mlmodel import PYTHON_FUNCTION, MLModel, MLModelError, parse

Predict = Callable[[Any, Mapping[str, object]], Any]


@dataclass(frozen=True)
class Model:
    """A loaded model. `is_row_wise`: each prediction depends on its own row only, so rows may be put together."""

    flavor: str
    predict: Predict  # (frame or arrays, params) -> predictions
    shape: Shape
    is_row_wise: bool
    takes_params: bool = False

    def input_of(self, body: Body) -> Table | Arrays:
        """The request's input with the model's columns in the model's order.

        Raises:
            BadBody: columns are missing, or parameters were sent to a model that takes none.
        """
        if body.params and not self.takes_params:
            raise BadBody(f"This model takes no params, but {', '.join(body.params)} was sent.")
        if isinstance(body.input, Table):
            return frames.align(body.input, self.shape)
        if self.shape.tensors or not self.shape.names:
            return body.input
        return frames.columns_of(body.input, self.shape)

    def answer(self, asked: Table | Arrays, params: Mapping[str, object]) -> Any:
        """Predictions for a table or for arrays.

        Raises:
            BadBody: the values do not fit the signature.
        """
        made = frames.frame(asked, self.shape) if isinstance(asked, Table) else frames.arrays(asked, self.shape)
        return self.predict(made, params)


def load(folder: Path, *, flavor: str) -> Model:
    """Load the MLflow model of a folder.

    Raises:
        MLModelError: there is none, or its flavour cannot be loaded in this environment.
    """
    described = describe(folder)
    chosen = described.flavor_to_load(flavor)
    find_code(folder, described)
    loader = _LOADERS.get(chosen)
    if loader is None:
        known = ", ".join(_LOADERS)
        raise MLModelError(f"The flavour {chosen!r} cannot be served. Known: {known}. Try --flavor {PYTHON_FUNCTION}.")
    return loader(folder, described)


def describe(folder: Path) -> MLModel:
    """Read the `MLmodel` file of a folder.

    Raises:
        MLModelError: there is none, or it cannot be read.
    """
    return parse(_document(folder))


def find_code(folder: Path, described: MLModel) -> None:
    """Modules that were saved with the model come first, as mlflow does it."""
    if saved_code := described.flavors.get(PYTHON_FUNCTION, {}).get("code"):
        sys.path.insert(0, str(folder / str(saved_code)))


def _document(folder: Path) -> object:
    path = folder / "MLmodel"
    try:
        written = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise MLModelError(
            f"{folder} holds no MLmodel file. Deploy an MLflow model, or give a score.py with --code."
        ) from error
    # mlflow itself needs PyYAML, so the environment of an MLflow model has it unless somebody took it out by hand.
    yaml = _module("yaml", "pyyaml", why="to read the MLmodel file")
    try:
        return yaml.safe_load(written)
    except yaml.YAMLError as error:
        raise MLModelError(f"{path} is not YAML: {error}.") from error


@dataclass(frozen=True)
class Estimator:
    """What a scikit-learn model was saved as: the trained object, and which of its functions answers."""

    trained: Any
    wanted: str
    names: Sequence[str]  # of the columns it was trained with
    takes_arrays: bool


def estimator_path(folder: Path, described: MLModel) -> Path:
    """The file that holds a scikit-learn model."""
    return folder / str(described.flavors["sklearn"].get("pickled_model", "model.pkl"))


def estimator(folder: Path, described: MLModel) -> Estimator:
    """The trained object of a scikit-learn model.

    Raises:
        MLModelError: it cannot be loaded, or does not predict.
    """
    trained = _unpickled(estimator_path(folder, described), described.flavors["sklearn"])
    wanted = str(described.flavors.get(PYTHON_FUNCTION, {}).get("predict_fn") or "predict")
    if getattr(trained, wanted, None) is None:
        raise MLModelError(f"A {type(trained).__name__} has no {wanted}(). Save a model that predicts.")
    names = [str(name) for name in getattr(trained, "feature_names_in_", ())]
    # The names were compared when the request was read: an array in the right order needs no warning.
    warnings.filterwarnings("ignore", message="X does not have valid feature names", category=UserWarning)
    return Estimator(trained=trained, wanted=wanted, names=names, takes_arrays=_takes_arrays(trained))


def _sklearn(folder: Path, described: MLModel) -> Model:
    found = estimator(folder, described)
    predict = forests.direct(found.trained, found.wanted) or getattr(found.trained, found.wanted)
    return Model(
        flavor="sklearn",
        predict=lambda made, params: predict(made),
        shape=Shape.of(described.signature, names=found.names, takes_arrays=found.takes_arrays),
        is_row_wise=found.wanted.startswith("predict"),  # `score` is one figure for all rows
    )


def _takes_arrays(trained: Any) -> bool:
    """Whether the estimator answers an array as it does a frame of the same numbers, which costs four times as much.

    True when all its parts are scikit-learn's own and none picks columns by name, runs somebody's function or gives
    frames to the next step.
    """
    parameters: dict[str, Any] = trained.get_params(deep=True) if hasattr(trained, "get_params") else {}
    parts = [trained, *(value for value in parameters.values() if hasattr(value, "get_params"))]
    return bool(parameters) and all(
        type(part).__module__.startswith("sklearn.")
        and not type(part).__module__.startswith("sklearn.compose.")
        and type(part).__name__ != "FunctionTransformer"
        and not hasattr(part, "_sklearn_output_config")
        for part in parts
    )


def _xgboost(folder: Path, described: MLModel) -> Model:
    settings = described.flavors["xgboost"]
    xgboost = _module("xgboost", "xgboost", why="to load this model")
    module, _, name = str(settings.get("model_class", "xgboost.core.Booster")).rpartition(".")
    trained: Any = getattr(importlib.import_module(module), name)()
    trained.load_model(str(folder / str(settings["data"])))
    is_booster = isinstance(trained, xgboost.Booster)

    def predict(made: Any, params: Mapping[str, object]) -> Any:
        return trained.predict(xgboost.DMatrix(made)) if is_booster else trained.predict(made)

    return Model(flavor="xgboost", predict=predict, shape=Shape.of(described.signature), is_row_wise=True)


def _lightgbm(folder: Path, described: MLModel) -> Model:
    settings = described.flavors["lightgbm"]
    lightgbm = _module("lightgbm", "lightgbm", why="to load this model")
    path = folder / str(settings["data"])
    if settings.get("model_class", "lightgbm.basic.Booster") == "lightgbm.basic.Booster":
        trained: Any = lightgbm.Booster(model_file=str(path))
    else:
        trained = _unpickled(path, settings)
    return Model(
        flavor="lightgbm",
        predict=lambda made, params: trained.predict(made),
        shape=Shape.of(described.signature),
        is_row_wise=True,
    )


def _onnx(folder: Path, described: MLModel) -> Model:
    settings = described.flavors["onnx"]
    onnxruntime = _module("onnxruntime", "onnxruntime", why="to load this model")
    session = onnxruntime.InferenceSession(
        str(folder / str(settings.get("data", "model.onnx"))),
        providers=_providers(settings.get("providers"), onnxruntime.get_available_providers()),
    )
    inputs: list[Any] = session.get_inputs()
    outputs: list[str] = [output.name for output in session.get_outputs()]

    def predict(made: Any, params: Mapping[str, object]) -> Any:
        fed = _onnx_feed(made, inputs)
        found: dict[str, Any] = dict(zip(outputs, session.run(outputs, fed)))
        if isinstance(made, dict) or not hasattr(made, "columns"):
            return found
        # One record a row, as MLflow's frame of outputs becomes in JSON.
        columns: list[list[object]] = [list(values) for values in found.values()]
        return [dict(zip(outputs, row)) for row in zip(*columns)]

    # A fixed first dimension is a fixed number of rows.
    is_row_wise = all(not isinstance(tensor.shape[0], int) for tensor in inputs if tensor.shape)
    return Model(flavor="onnx", predict=predict, shape=Shape.of(described.signature), is_row_wise=is_row_wise)


def _providers(written: object, available: Sequence[str]) -> list[object]:
    """Written as names or as [name, options]; only what this build of onnxruntime has is used."""
    entries = cast("list[Any]", written) if isinstance(written, list) else []
    usable: list[object] = []
    for entry in entries:
        provider = tuple(cast("list[object]", entry)) if isinstance(entry, list) else entry
        if (provider[0] if isinstance(provider, tuple) else provider) in available:
            usable.append(cast(object, provider))
    return usable or ["CPUExecutionProvider"]


def _onnx_feed(made: Any, inputs: list[Any]) -> dict[str, Any]:
    if isinstance(made, dict):
        fed = cast(dict[str, Any], made)
    elif len(inputs) == 1:
        fed = {inputs[0].name: getattr(made, "values", made)}
    else:
        fed = {tensor.name: made[tensor.name].values.reshape(-1, 1) for tensor in inputs}
    # JSON's numbers are float64, which most models in this format do not take.
    floats = {tensor.name for tensor in inputs if tensor.type == "tensor(float)"}
    return {name: value.astype("float32") if name in floats else value for name, value in fed.items()}


def _python_function(folder: Path, described: MLModel) -> Model:
    pyfunc = _module("mlflow.pyfunc", "mlflow", why="for the flavour python_function")
    exceptions: Any = importlib.import_module("mlflow.exceptions")
    # Not by way of a link, as a run's input is one: mlflow takes what the link leads to for a place outside.
    trained = pyfunc.load_model(str(folder.resolve()))

    def predict(made: Any, params: Mapping[str, object]) -> Any:
        try:
            return trained.predict(made, params=dict(params)) if params else trained.predict(made)
        except exceptions.MlflowException as error:  # mlflow's own check of the signature
            raise BadBody(str(error)) from error

    # What stands behind a python_function is not known: it may look at all rows together.
    return Model(
        flavor=PYTHON_FUNCTION,
        predict=predict,
        shape=Shape.of(described.signature),
        is_row_wise=False,
        takes_params=True,
    )


def _unpickled(path: Path, settings: Mapping[str, object]) -> Any:
    """The object in a file. Loading runs code from it, which the model's owner has chosen to deploy."""
    form = settings.get("serialization_format", "pickle")
    try:
        if form == "skops":
            skops = _module("skops.io", "skops", why="to load this model")
            return skops.load(path, trusted=settings.get("skops_trusted_types"))
        with path.open("rb") as stream:
            # cloudpickle writes what pickle reads; it is imported by the stream itself where that is needed.
            return pickle.load(stream)  # noqa: S301
    except MLModelError:
        raise
    except Exception as error:
        saved_with = settings.get("sklearn_version") or settings.get("lgb_version") or "an unknown version"
        raise MLModelError(
            f"{path.name} could not be loaded: {type(error).__name__}: {error}. It was saved with {saved_with} of its "
            "library. Use the environment that was saved with the model, or train it again in this one."
        ) from error


def _module(name: str, package: str, *, why: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MLModelError(
            f"{package} is needed {why}, but cannot be imported in this environment ({error}). "
            f"Add {package} to the environment of the deployment."
        ) from error


_LOADERS: Mapping[str, Callable[[Path, MLModel], Model]] = {
    "sklearn": _sklearn,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "onnx": _onnx,
    PYTHON_FUNCTION: _python_function,
}
