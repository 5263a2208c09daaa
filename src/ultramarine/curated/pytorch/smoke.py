"""A net learns to read digits, on a GPU if there is one, is tracked, and answers the same when loaded again."""

import os
import tempfile

os.environ.update(MLFLOW_ALLOW_FILE_STORE="true", MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT="1", MPLBACKEND="agg")
os.chdir(tempfile.mkdtemp())

import mlflow  # noqa: E402
import numpy as np  # noqa: E402
import pandas  # noqa: E402, F401
import torch  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402

torch.manual_seed(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
mlflow.set_tracking_uri("file:./tracked")
pixels, digits = load_digits(return_X_y=True)
features = torch.tensor(pixels / 16, dtype=torch.float32, device=device)
labels = torch.tensor(digits, device=device)
net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)).to(device)
optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
losses = []
with mlflow.start_run() as run:
    for step in range(60):
        loss = torch.nn.functional.cross_entropy(net(features), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        mlflow.log_metric("loss", losses[-1], step=step)
    accuracy = (net(features).argmax(1) == labels).float().mean().item()
    mlflow.log_metric("accuracy", accuracy)
    logged = mlflow.pytorch.log_model(net, name="net", input_example=pixels[:2].astype(np.float32))

assert accuracy > 0.9, accuracy
assert losses[-1] < losses[0] / 4, losses
tracked = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
assert {metric.step: metric.value for metric in tracked}.keys() == set(range(60)), tracked
again = mlflow.pyfunc.load_model(logged.model_uri).predict((pixels / 16).astype(np.float32))
assert np.allclose(again, net(features).detach().cpu().numpy(), atol=1e-5)
