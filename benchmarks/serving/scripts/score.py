"""Azure's contract."""

# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

import json
import os
import pickle

import numpy


def init():
    global model
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.pkl"), "rb") as stream:
        model = pickle.load(stream)


def run(raw_data):
    return model.predict(numpy.array(json.loads(raw_data)["data"])).tolist()
