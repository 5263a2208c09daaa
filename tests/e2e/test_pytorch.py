"""The curated environment with PyTorch, as a job on this machine finds it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .installation import FINAL, Installation, installed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
BUILT_S_MAX = 400  #: on a new machine PyTorch is unpacked and compiled first


@pytest.fixture
def it(cache: Path) -> Iterator[Installation]:
    with installed(cache) as made:
        made.up()
        made.pid("mlflow", within_s=300)
        yield made


def test_a_net_is_trained_by_the_name_that_azures_file_has_and_is_tracked(it: Installation):
    it.submit(
        "digits",
        "python digits.py",
        code="training",
        environment="azureml:AzureML-acpt-pytorch-2.2-cuda12.1@latest",
        compute="local",
    )
    job = it.comes_to("digits", *FINAL, within_s=BUILT_S_MAX)
    if "No package index of this site has torch" in job["reason"]:
        pytest.skip(job["reason"])
    assert job["status"] == "Completed", job
    said = b"".join(it.workspace.jobs.log("digits", attempt=1, rank="0", file="std_log.txt")).decode()
    assert "2.13.0+cpu on cpu: 0.9" in said
