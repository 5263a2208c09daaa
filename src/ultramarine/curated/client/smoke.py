"""What a command reads, checks and prints goes through it."""

import io

import jmespath
import platformdirs
import yaml
from packaging.requirements import Requirement
from pathspec import GitIgnoreSpec
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.progress import Progress


class Job(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    command: str


job = Job.model_validate(yaml.safe_load("command: python train.py"))
assert jmespath.search("[0].command", [job.model_dump()]) == "python train.py"
assert not GitIgnoreSpec.from_lines(["*.pyc"]).match_file("train.py")
assert Requirement("scikit-learn>=1").name == "scikit-learn"
assert platformdirs.user_data_dir("ultramarine", appauthor=False)
said = io.StringIO()
with Progress(console=Console(file=said)) as progress:
    progress.add_task("sent", total=1, completed=1)
assert "100%" in said.getvalue()
