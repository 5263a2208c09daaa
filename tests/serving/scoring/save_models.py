"""Trains small models on the breast cancer data and saves them as MLflow models; run in the models' environment."""

# The libraries are those of the models' environment, which the checker does not see.
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

import json
import sys
from pathlib import Path

import lightgbm
import mlflow
import numpy
import pandas
import skl2onnx
import xgboost
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


class Shift(mlflow.pyfunc.PythonModel):
    """Looks at all rows together: its answers must not depend on who else asks."""

    def predict(self, context, model_input, params=None):
        times = (params or {}).get("times", 1)
        return ((model_input["a"] - model_input["a"].mean()) * times).tolist()


class Echo(mlflow.pyfunc.PythonModel):
    """Gives back the arrays that it is given, by their names."""

    def predict(self, context, model_input, params=None):
        return model_input


def main(folder: Path) -> None:
    table, target = load_breast_cancer(return_X_y=True, as_frame=True)
    forest = RandomForestClassifier(20, random_state=0).fit(table, target)
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(table, target)
    signature = infer_signature(table, forest.predict(table))
    kept = {"signature": signature, "pip_requirements": ["scikit-learn"]}

    save = mlflow.sklearn.save_model
    save(forest, folder / "forest", serialization_format="cloudpickle", input_example=table.head(2), **kept)
    save(linear, folder / "linear", serialization_format="pickle", **kept)
    save(linear, folder / "skops", serialization_format="skops", **kept)
    save(forest, folder / "probabilities", serialization_format="pickle", pyfunc_predict_fn="predict_proba", **kept)
    save(forest, folder / "unsigned", serialization_format="pickle", pip_requirements=["scikit-learn"])
    _save_mixed(folder, table, target)

    booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(table, target), num_boost_round=5)
    mlflow.lightgbm.save_model(booster, folder / "lightgbm", **kept)
    boosted = xgboost.XGBClassifier(n_estimators=5).fit(table, target)
    mlflow.xgboost.save_model(boosted, folder / "xgboost", **kept)
    converted = skl2onnx.to_onnx(linear, table.to_numpy().astype(numpy.float32)[:1], options={"zipmap": False})
    mlflow.onnx.save_model(converted, folder / "onnx", **kept)
    numbers = infer_signature(pandas.DataFrame({"a": [0.5, 1.5]}), [0.5, 1.5], params={"times": 1})
    mlflow.pyfunc.save_model(
        folder / "pyfunc", python_model=Shift(), signature=numbers, pip_requirements=["mlflow-skinny"]
    )
    mlflow.pyfunc.save_model(folder / "echo", python_model=Echo(), pip_requirements=["mlflow-skinny"])
    arrays = infer_signature(table.to_numpy(), forest.predict(table))
    save(forest, folder / "tensors", serialization_format="pickle", signature=arrays, pip_requirements=["scikit-learn"])

    expected = {
        "forest": forest.predict(table),
        "linear": linear.predict(table),
        "skops": linear.predict(table),
        "probabilities": forest.predict_proba(table),
        "unsigned": forest.predict(table),
        "lightgbm": booster.predict(table),
        "xgboost": boosted.predict(table),
        "onnx": linear.predict(table),
    }
    known = {name: values.tolist() for name, values in expected.items()}
    data = {"columns": list(table.columns), "rows": table.to_numpy().tolist(), "expected": known}
    (folder / "data.json").write_text(json.dumps(data))


def _save_mixed(folder: Path, table: pandas.DataFrame, target: pandas.Series) -> None:
    """A model that picks its columns by name, one of them text."""
    mixed = pandas.DataFrame(
        {"radius": table["mean radius"], "site": numpy.where(table.index % 2 == 0, "left", "right")}
    )
    encode = make_column_transformer((OneHotEncoder(), ["site"]), remainder="passthrough")
    model = make_pipeline(encode, LogisticRegression()).fit(mixed, target)
    mlflow.sklearn.save_model(
        model,
        folder / "mixed",
        serialization_format="cloudpickle",
        signature=infer_signature(mixed, model.predict(mixed)),
        pip_requirements=["scikit-learn"],
    )


main(Path(sys.argv[1]))
