import argparse
from pathlib import Path

import joblib
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

arguments = argparse.ArgumentParser()
arguments.add_argument("--alpha", type=float)
arguments.add_argument("--to", type=Path)
given = arguments.parse_args()

rows, progression = load_diabetes(return_X_y=True)
given.to.mkdir(parents=True, exist_ok=True)
joblib.dump(Ridge(alpha=given.alpha).fit(rows, progression), given.to / "ridge.pkl")
