"""LitServe with its own batching: `on_litserve.py FOLDER PORT`."""

# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

import pickle
import sys
from pathlib import Path

import litserve
import numpy


class Served(litserve.LitAPI):
    def setup(self, device):
        self.model = pickle.loads((Path(sys.argv[1]) / "model.pkl").read_bytes())

    def decode_request(self, request):
        return numpy.array(request["data"][0])

    def batch(self, inputs):
        return numpy.stack(inputs)

    def predict(self, rows):
        return self.model.predict(rows)

    def unbatch(self, answers):
        return list(answers)

    def encode_response(self, answer):
        return [int(answer)]


if __name__ == "__main__":
    served = Served(max_batch_size=64, batch_timeout=0.002)
    litserve.LitServer(served, accelerator="cpu", workers_per_device=1, timeout=60).run(
        host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning"
    )
