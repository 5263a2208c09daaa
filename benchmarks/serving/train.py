"""Trains the models in the environment of the server that is to serve them: `train.py FOLDER`.

Each environment trains its own, so that all can be read; seeds and data are the same.
"""

# The libraries are those of the servers' environments, which the checker does not see.
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

import importlib.util
import json
import pickle
import sys
from pathlib import Path

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

folder = Path(sys.argv[1])
table, target = load_breast_cancer(return_X_y=True, as_frame=True)
models = {
    "forest": RandomForestClassifier(100, random_state=0),
    "linear": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
    "network": make_pipeline(StandardScaler(), MLPClassifier((32, 16), max_iter=300, random_state=0)),
}
for name, model in models.items():
    place = folder / name
    place.mkdir(parents=True)
    (place / "model.pkl").write_bytes(pickle.dumps(model.fit(table.to_numpy(), target)))
    if importlib.util.find_spec("mlflow") is not None:
        import mlflow
        from mlflow.models import infer_signature

        model.fit(table, target)
        mlflow.sklearn.save_model(
            model,
            place / "mlflow",
            signature=infer_signature(table, model.predict(table)),
            serialization_format="cloudpickle",
            input_example=table.head(1),
            pip_requirements=["scikit-learn"],
        )
row = {"columns": list(table.columns), "row": table.iloc[0].tolist()}
(folder / "row.json").write_text(json.dumps(row))
