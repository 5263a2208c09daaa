"""BentoML with its own batching; served as `bentoml serve on_bentoml:Served` in this folder, MODEL names the model."""

# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

import os
import pickle
from pathlib import Path

import bentoml
import numpy


@bentoml.service(workers=1, traffic={"timeout": 60})
class Served:
    def __init__(self) -> None:
        self.model = pickle.loads((Path(os.environ["MODEL"]) / "model.pkl").read_bytes())

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=60_000, route="/score")
    def score(self, data: numpy.ndarray) -> numpy.ndarray:
        return self.model.predict(data)
