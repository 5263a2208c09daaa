"""Ray Serve with its own batching: `on_ray.py FOLDER PORT`."""

# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

import pickle
import sys
import time
from pathlib import Path

import numpy
import ray
from ray import serve


@serve.deployment(max_ongoing_requests=1000)
class Served:
    def __init__(self, folder):
        self.model = pickle.loads((Path(folder) / "model.pkl").read_bytes())

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.002)
    async def score(self, rows):
        return self.model.predict(numpy.stack(rows)).tolist()

    async def __call__(self, request):
        if request.method == "GET":
            return "ready"
        return [await self.score(numpy.array((await request.json())["data"][0]))]


ray.init(num_cpus=2, include_dashboard=False, logging_level="warning")
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
serve.run(Served.bind(sys.argv[1]), route_prefix="/")
while True:
    time.sleep(1)
