"""What anybody would write: autolog, a fit, a metric, in each of four processes."""

# pyright: basic, reportMissingImports=false

import os

import mlflow
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

rank = int(os.environ["RANK"])
mlflow.autolog()
rows, kinds = load_iris(as_frame=True, return_X_y=True)
LogisticRegression(max_iter=500, C=1.0 + rank).fit(rows, kinds)
mlflow.log_metric(f"of rank {rank}", rank)
