"""From nothing to a prediction, with the same commands that you would type: `make quickstart`.

It uses your own home (`ULTRAMARINE_HOME`, or the platform's default), so that `um` goes on with what it made.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "quickstart"
UM = Path(sys.executable).with_name("um")
BEGAN_S = float(os.environ.get("QUICKSTART_BEGAN", time.time()))


class Clock:
    """Where the seconds went."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, float]] = [("installation", time.time() - BEGAN_S)]
        self._last_s = time.time()

    def step(self, name: str) -> None:
        now_s = time.time()
        self._steps.append((name, now_s - self._last_s))
        self._last_s = now_s

    def table(self) -> str:
        rows = [f"  {name:<44}{seconds:6.1f} s" for name, seconds in self._steps]
        return "\n".join([*rows, f"  {'all together':<44}{sum(seconds for _, seconds in self._steps):6.1f} s"])


def say(*arguments: object) -> list[str]:
    command = [str(argument) for argument in arguments]
    print(f"\n$ um {' '.join(command)}", flush=True)
    return [str(UM), *command]


def um(*arguments: object) -> None:
    """Run a command that talks to the person; end here when it fails."""
    if code := subprocess.run(say(*arguments), cwd=HERE, check=False).returncode:
        sys.exit(f"That failed with exit code {code}. What is above says why; `um status` shows each part and its log.")


def ask(*arguments: object) -> Any:
    """Run a command for its data."""
    answered = subprocess.run(
        [*say(*arguments), "-o", "json"], cwd=HERE, check=False, stdout=subprocess.PIPE, text=True
    )
    if answered.returncode:
        sys.exit(f"That failed with exit code {answered.returncode}. `um status` shows each part and its log.")
    return json.loads(answered.stdout)


def main() -> None:
    clock = Clock()
    if subprocess.run([UM, "status"], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        um("up", "-d")
    clock.step("service up")
    ask("compute", "create", "-f", "cluster.yml")
    job = f"quickstart-{time.strftime('%m%d-%H%M%S')}"
    um("job", "create", "-f", "job.yml", "--name", job, "--stream")
    clock.step("cluster from zero, environment, training")
    path = f"azureml://jobs/{job}/outputs/artifacts/paths/model"
    model = ask("model", "create", "--name", "cancer-forest", "--type", "mlflow_model", "--path", path)
    print(f"registered {model['name']}:{model['version']}")
    clock.step("model registered")
    deploy(f"cancer-forest:{model['version']}")
    clock.step("endpoint and deployment")
    predict(job)
    clock.step("prediction")
    print(f"\nWhere the seconds went:\n{clock.table()}\n\n{NEXT}")


def deploy(model: str) -> None:
    """Blue the first time; after that the other colour, which takes over the traffic when it answers."""
    traffic = ask("online-endpoint", "create", "-f", "endpoint.yml")["traffic"]
    old = next((name for name, share in traffic.items() if share == 100), None)
    new = "green" if old == "blue" else "blue"
    um(
        "online-deployment",
        "create",
        "-f",
        "blue.yml",
        "--name",
        new,
        "--set",
        f"model=azureml:{model}",
        "--all-traffic",
    )
    if old is not None:
        um("online-deployment", "delete", "--name", old, "--endpoint-name", "cancer", "--yes", "--no-wait")


def predict(job: str) -> None:
    """Ask the endpoint, and hold its answer against what the model said where it was trained."""
    with tempfile.TemporaryDirectory() as folder:
        um("job", "download", "--name", job, "--output-name", "sample", "--download-path", folder)
        request = next(Path(folder).rglob("request.json"))
        answer = ask("online-endpoint", "invoke", "--name", "cancer", "--request-file", request)
        expected = json.loads(request.with_name("expected.json").read_text())
    print(f"prediction: {answer}\nthe model itself said, where it was trained: {expected}")
    if answer != expected:
        sys.exit("The endpoint and the model do not agree.")
    print("They agree.")


NEXT = """Where to look next (export PATH="$PWD/.venv/bin:$PATH" first):
  um job list                        what ran
  um job show -n JOB                 one job; um job explain: why it failed
  um open mlflow                     its metrics and model, in the browser
  um online-endpoint get-credentials -n cancer
                                     the key, for curl
  um status                          each part of the service
  docs/tutorial/first-job.md         your own first job
  um down                            end it all"""

if __name__ == "__main__":
    main()
