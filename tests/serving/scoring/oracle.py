"""What a saved estimator says of rows, called directly in its own environment: `oracle.py FOLDER`, JSON lines."""

# The libraries are those of the models' environment, which the checker does not see.
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

import json
import pickle
import sys
from pathlib import Path

import numpy
import pandas

folder = Path(sys.argv[1])
model = pickle.loads((folder / "model.pkl").read_bytes())
data = json.loads((folder / "data.json").read_text())
for line in sys.stdin:
    rows = json.loads(line)
    table = pandas.DataFrame(rows, columns=data["columns"]) if data["columns"] else numpy.array(rows, dtype=float)
    sys.stdout.write(json.dumps(getattr(model, data["wanted"])(table).tolist()) + "\n")
    sys.stdout.flush()
