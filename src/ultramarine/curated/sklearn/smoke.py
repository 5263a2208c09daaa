"""A model is trained, autologged, loaded again and answers the same, in its ONNX form too; trees are boosted."""

import os
import tempfile

os.environ.update(MLFLOW_ALLOW_FILE_STORE="true", MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT="1", MPLBACKEND="agg")
os.chdir(tempfile.mkdtemp())

import lightgbm  # noqa: E402
import mlflow  # noqa: E402
import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import pandas as pd  # noqa: E402
import scipy.stats  # noqa: E402, F401
import xgboost  # noqa: E402
import yaml  # noqa: E402
from skl2onnx import to_onnx  # noqa: E402
from sklearn.datasets import load_iris  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402

mlflow.set_tracking_uri("file:./tracked")
mlflow.autolog()
features, labels = load_iris(return_X_y=True, as_frame=True)
with mlflow.start_run() as run:
    model = LogisticRegression(max_iter=300).fit(features, labels)
    logged = mlflow.sklearn.log_model(model, name="again", input_example=features.head(2))

tracked = mlflow.get_run(run.info.run_id).data
assert tracked.metrics["training_accuracy_score"] > 0.9, tracked.metrics
assert {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)} >= {
    "training_confusion_matrix.png",
    "estimator.html",
}
folder = mlflow.artifacts.download_artifacts(logged.model_uri)
with open(os.path.join(folder, "MLmodel"), encoding="utf-8") as file:
    assert "sklearn" in yaml.safe_load(file)["flavors"]
answers = mlflow.pyfunc.load_model(logged.model_uri).predict(features)
assert list(pd.Series(answers)) == list(model.predict(features))

plain = features.to_numpy(np.float32)
session = onnxruntime.InferenceSession(to_onnx(model, plain[:1]).SerializeToString())
assert list(session.run(None, {"X": plain})[0]) == list(model.predict(features))

mlflow.autolog(disable=True)
for trees in (xgboost.XGBClassifier(n_estimators=5), lightgbm.LGBMClassifier(n_estimators=5, verbose=-1)):
    assert trees.fit(plain, labels).score(plain, labels) > 0.9, trees
