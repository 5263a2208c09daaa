"""Tell how a patient's diabetes will have progressed after a year."""

import json
import os
from pathlib import Path

import joblib
import numpy


def init():
    global model
    model = joblib.load(next(Path(os.environ["AZUREML_MODEL_DIR"]).rglob("ridge.pkl")))


def run(raw_data):
    rows = numpy.array(json.loads(raw_data)["data"])
    return model.predict(rows).tolist()
