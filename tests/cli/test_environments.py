"""`um environment check|diff|export` against the real control plane and the index of this site."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Um

from ultramarine.cli.command import NOT_FOUND, OK, USAGE


def requirements(folder: Path, *lines: str) -> str:
    (folder / "wanted.txt").write_text("\n".join(lines) + "\n")
    return "wanted.txt"


def test_what_can_be_made_is_said_with_what_would_be_in_it(um: Um, signed_in: Path):
    found = um("environment", "check", "--requirements", requirements(signed_in, "jinja2==3.1.4"), "-o", "json")
    assert found.code == OK, found.err
    said = json.loads(found.out)
    assert {"jinja2", "markupsafe"} <= {one["name"] for one in said["packages"]}
    spoken = um("environment", "check", "--requirements", "wanted.txt", "-o", "table")
    assert f"2 packages for Python {said['python']}, digest {said['digest'][:12]}" in spoken.err


def test_nothing_is_kept_of_a_check_and_what_is_made_has_the_same_digest(um: Um, signed_in: Path):
    checked = um("environment", "check", "--requirements", requirements(signed_in, "idna==3.7"), "-o", "json")
    assert um("environment", "show", "checked").code == NOT_FOUND
    made = um("environment", "create", "-n", "checked", "--requirements", "wanted.txt", "-o", "json")
    assert json.loads(made.out)["digest"] == json.loads(checked.out)["digest"]
    again = um("environment", "check", "checked", "-o", "json")
    assert json.loads(again.out)["digest"] == json.loads(checked.out)["digest"]


def test_one_is_built_where_work_runs_and_it_is_said_how_far_it_is(um: Um, signed_in: Path):
    um("environment", "create", "-n", "built", "--requirements", requirements(signed_in, "six==1.16.0"))
    done = um("environment", "build", "-n", "built")
    assert done.code == OK, done.err
    digest = json.loads(um("environment", "show", "built", "-o", "json").out)["digest"]
    assert "environment: fetching, 0 of 1 packages" in done.err
    assert f"built:1 is there, digest {digest[:12]}." in done.err
    jobs = json.loads(um("job", "list", "--experiment-name", "environment-builds", "-o", "json").out)
    [job] = [each for each in jobs if each["display_name"] == "build of built:1"]
    assert job["status"] == "Completed"
    assert um("environment", "build", "-n", "nowhere").code == NOT_FOUND
    assert um("environment", "build", "-n", "built", "--compute", "azureml:nowhere").code != OK


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("jinja2==3.1.4", "markupsafe<2"), ("jinja2", "markupsafe")),
        (("no-such-package-of-anybody",), ("no-such-package-of-anybody", "typing error")),
        (("git+https://example.com/x.git",), ("git+https",)),
        (("./here",), ("./here",)),
    ],
)
def test_what_cannot_be_made_is_refused_with_what_is_in_the_way(
    um: Um, signed_in: Path, lines: tuple[str, ...], words: tuple[str, ...]
):
    refused = um("environment", "check", "--requirements", requirements(signed_in, *lines))
    assert refused.code == USAGE, refused.err
    for word in words:
        assert word in refused.err.lower()


def test_a_python_that_is_not_there_is_refused_with_those_that_are(um: Um, signed_in: Path):
    (signed_in / "conda.yml").write_text("dependencies: [python=3.6, pandas]\n")
    refused = um("environment", "check", "--conda-file", "conda.yml")
    assert refused.code == USAGE
    assert "Python 3.6 is not there; there is: " in refused.err


def test_two_environments_are_compared(um: Um, signed_in: Path):
    requirements(signed_in, "idna==3.7")
    um("environment", "create", "-n", "two", "-v", "1", "--requirements", "wanted.txt")
    requirements(signed_in, "idna==3.6", "six==1.16.0")
    um("environment", "create", "-n", "two", "-v", "2", "--requirements", "wanted.txt")
    rows = json.loads(um("environment", "diff", "two:1", "--to", "two:2", "-o", "json").out)
    assert rows == [
        {"package": "idna", "before": "3.7", "after": "3.6"},
        {"package": "six", "before": "", "after": "1.16.0"},
    ]
    same = um("environment", "diff", "two:1", "--to", "two:1", "-o", "table")
    assert "They are the same: digest " in same.err


def test_an_environment_is_exported_and_comes_out_the_same(um: Um, signed_in: Path):
    requirements(signed_in, "jinja2==3.1.4")
    um("environment", "create", "-n", "out", "--requirements", "wanted.txt")
    assert um("environment", "export", "out", "--format", "conda", "-f", "conda.yml").code == OK
    again = json.loads(um("environment", "check", "--conda-file", "conda.yml", "-o", "json").out)
    assert {one["name"] for one in again["packages"]} == {"jinja2", "markupsafe", "pip"}
    text = um("environment", "export", "out").out
    assert text.count("--hash=sha256:") >= 2
    assert "://" not in text
    assert "RUN pip install" in um("environment", "export", "out", "--format", "dockerfile").out
    refused = um("environment", "export", "out", "-f", "no/such/folder/x.yml")
    assert (refused.code, "cannot be written" in refused.err) == (USAGE, True)


def test_one_that_cannot_be_made_has_no_packages_to_show(um: Um, signed_in: Path):
    requirements(signed_in, "no-such-package-of-anybody")
    um("environment", "create", "-n", "never", "--requirements", "wanted.txt")
    refused = um("environment", "export", "never")
    assert refused.code != OK
    assert "Environment never:1 is Failed: its packages are not known." in refused.err


def test_what_is_ready_made_can_be_compared_and_exported_too(um: Um, signed_in: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = um("environment", "export", "sklearn").out
    assert "\nscikit-learn==" in text
    assert "://" not in text
    rows = json.loads(um("environment", "diff", "minimal", "--to", "sklearn", "-o", "json").out)
    assert {"before": ""}.items() <= next(row for row in rows if row["package"] == "scikit-learn").items()
    shown = json.loads(um("environment", "show", "sklearn", "-o", "json").out)
    assert shown["digest"][:12] in um("environment", "list", "-o", "table").out


def test_one_that_is_made_for_an_accelerator_says_which_is_shown(um: Um, signed_in: Path):
    shown = um("environment", "show", "pytorch", "-o", "table")
    assert "There is one for each of cpu, cuda" in shown.err
    cpu = um("environment", "export", "pytorch")
    assert "this is that for cpu (--accelerator)" in cpu.err
    assert "\ntorch==2.13.0+cpu" in cpu.out
    cuda = um("environment", "export", "pytorch", "--accelerator", "cuda")
    assert "\ntorch==2.13.0 " in cuda.out
    assert "\nnvidia-cublas==" in cuda.out
    assert um("environment", "export", "sklearn", "--accelerator", "cuda").err == ""
