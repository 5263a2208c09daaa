"""The control plane as an instance asks it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.instance.control import TOKEN, ControlPlane, answering

from ultramarine_instance.cached import cache_of
from ultramarine_instance.control import Control, Kept, NoAnswer, NotThere
from ultramarine_instance.options import read
from ultramarine_runner.environments import EnvironmentFailed


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlPlane]:
    with answering() as plane:
        plane.locks = {"a:1": {"digest": "d1", "python": "3.11", "lock": "x==1 \\\n    --hash=sha256:00\n"}}
        plane.newest = ["a:1"]
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        yield plane


def variables(plane: ControlPlane, token: str = TOKEN) -> dict[str, str]:
    return {"ULTRAMARINE_URL": plane.url, "ULTRAMARINE_TOKEN": token, "ULTRAMARINE_WORKSPACE": "default"}


def test_what_an_environment_is_made_from_is_asked_once(plane: ControlPlane, tmp_path: Path):
    for _ in range(2):
        made = Kept(tmp_path / "kept").made_from("a", "1", digest="d1", variables=variables(plane))
        assert (made.digest, made.python) == ("d1", "3.11")
        assert made.recipe is not None
        assert made.recipe.lock.startswith(b"x==1")
    assert len(plane.asked) == 1


def test_what_is_kept_of_another_digest_is_asked_anew(plane: ControlPlane, tmp_path: Path):
    (tmp_path / "a--1.json").write_text(json.dumps({"python": "3.9", "digest": "d0", "lock": None}))
    made = Kept(tmp_path).made_from("a", "1", digest="d1", variables=variables(plane))
    assert made.digest == "d1"


def test_an_instance_with_gpus_asks_for_what_is_made_for_them(plane: ControlPlane):
    both = {"cpu": {"digest": "d1", "packages": 1}, "cuda": {"digest": "d2", "packages": 2}}
    plane.locks["b:1"] = {"digest": "d1", "python": "3.11", "lock": "", "accelerators": both}
    plane.newest = ["a:1", "b:1"]
    for gpus, digest, accelerator in (("", "d1", "cpu"), ("GPU-1", "d2", "cuda")):
        control = Control.from_variables(variables(plane) | {"CUDA_VISIBLE_DEVICES": gpus})
        assert [one.digest for one in control.environments()] == ["d1", digest]
        assert control.environment("b", "1").digest == digest
        control.made_from("b", "1")
        assert plane.asked[-1].endswith(f"/b/versions/1/lock?accelerator={accelerator}")


def test_a_refusal_and_a_silence_are_told_in_words(plane: ControlPlane):
    control = Control.from_variables(variables(plane))
    with pytest.raises(NotThere, match=r"There is no environment b:1\. um environment list"):
        control.environment("b", "1")
    with pytest.raises(NotThere, match="no name of an environment"):
        control.environment("../a", "1")
    with pytest.raises(NoAnswer, match="answers with 401"):
        Control.from_variables(variables(plane, "wrong")).environments()
    plane.is_silent = True
    with pytest.raises(NoAnswer, match="does not answer"):
        control.environments()
    with pytest.raises(NoAnswer, match="ULTRAMARINE_URL and ULTRAMARINE_TOKEN"):
        Control.from_variables({})


def test_environments_are_built_where_ours_lies():
    assert cache_of("/cache/environments/abc") == Path("/cache")
    with pytest.raises(EnvironmentFailed, match="no environment of a runner's"):
        cache_of("/usr")


@pytest.mark.parametrize("wrong", ["tcp:1", "unix:relative", "unix:/" + "x" * 120])
def test_a_socket_that_cannot_be_is_refused(wrong: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        read(["--socket", wrong, "--home", "/h", "--base", "/b/", "--secret", "/s", "--settings", "/t"])
    assert "unix:" in capsys.readouterr().err
