"""What anybody would write: a net that learns to read digits, followed and kept by MLflow."""

# pyright: basic, reportMissingImports=false

import mlflow
import torch
from sklearn.datasets import load_digits

device = "cuda" if torch.cuda.is_available() else "cpu"
pixels, digits = load_digits(return_X_y=True)
features = torch.tensor(pixels / 16, dtype=torch.float32, device=device)
labels = torch.tensor(digits, device=device)
net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)).to(device)
optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
for step in range(60):
    loss = torch.nn.functional.cross_entropy(net(features), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    mlflow.log_metric("loss", loss.item(), step=step)
accuracy = (net(features).argmax(1) == labels).float().mean().item()
mlflow.log_metric("accuracy", accuracy)
example = features[:2].cpu().numpy()
mlflow.pytorch.log_model(net, name="model", registered_model_name="digits", input_example=example)
print(f"{torch.__version__} on {device}: {accuracy:.2f}")
