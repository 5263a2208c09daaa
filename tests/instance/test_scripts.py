"""Set-up scripts and custom applications, without JupyterLab."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ultramarine_instance.applications import Applications
from ultramarine_instance.scripts import ScriptFailed, Scripts
from ultramarine_instance.settings import Application, BadSettings, Script, Settings, load


def settings(**given: Any) -> Settings:
    return Settings(workspace="w", name="n", **given)


def script(name: str, command: str, *, file: str = "", timeout_s: float = 60) -> Script:
    return Script(name=name, command=command, file=file, timeout_s=timeout_s)


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


def test_the_creation_script_runs_once_and_the_startup_script_each_time(tmp_path: Path):
    told = settings(
        creation=script("creation", "echo made >> what"), startup=script("startup", "echo started >> what; pwd")
    )
    for _ in range(2):
        Scripts(tmp_path, files=tmp_path).run(told)
    assert (tmp_path / "what").read_text().split() == ["made", "started", "started"]
    assert (tmp_path / "setup" / "startup.log").read_text() == f"{tmp_path}\n"


def test_a_creation_script_that_failed_says_how_it_ended_and_is_run_again(tmp_path: Path):
    told = settings(creation=script("creation", "echo looking; test -e wanted || { echo not there >&2; exit 3; }"))
    with pytest.raises(ScriptFailed, match=r"(?s)creation script ended with exit code 3.*looking\nnot there"):
        Scripts(tmp_path, files=tmp_path).run(told)
    (tmp_path / "wanted").touch()
    Scripts(tmp_path, files=tmp_path).run(told)


def test_a_startup_script_that_failed_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    Scripts(tmp_path, files=tmp_path).run(settings(startup=script("startup", "exit 4")))
    assert "The startup script ended with exit code 4." in capsys.readouterr().err


def test_a_script_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path):
    slow = script("creation", "sleep 1000 & echo $! > pid; wait", timeout_s=0.3)
    with pytest.raises(ScriptFailed, match=r"took longer than 0\.005 minutes"):
        Scripts(tmp_path, files=tmp_path).run(settings(creation=slow))
    until(lambda: not Path("/proc", (tmp_path / "pid").read_text().strip(), "fd").exists())


def test_what_a_script_leaves_in_the_background_does_not_hold_it(tmp_path: Path):
    Scripts(tmp_path, files=tmp_path).run(settings(startup=script("startup", "sleep 30 & echo $! > pid")))
    pid = (tmp_path / "pid").read_text().strip()
    assert Path("/proc", pid).exists()
    subprocess.run(["kill", pid], check=True)


def test_a_script_that_came_along_gets_its_arguments(tmp_path: Path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "setup.sh").write_text('echo "$1|$2" > said')
    told = settings(creation=script("creation", "'one two' three", file="setup.sh"))
    Scripts(tmp_path, files=tmp_path / "files").run(told)
    assert (tmp_path / "said").read_text() == "one two|three\n"


def begin(program: Path, folder: Path, **more: Any) -> "subprocess.Popen[str]":
    """The whole program, in a Python that has no Jupyter."""
    (folder / "secret").write_text("s")
    (folder / "settings.json").write_text(json.dumps({"workspace": "w", "name": "n"} | more))
    told = ["--home", str(folder / "home"), "--base", "/i/", "--secret", str(folder / "secret")]
    command = [sys.executable, str(program), "--socket", f"unix:{folder}/s", *told]
    command += ["--settings", str(folder / "settings.json")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_an_instance_whose_creation_failed_ends_with_the_code_that_is_known(program: Path, tmp_path: Path):
    process = begin(program, tmp_path, setup_scripts={"creation_script": {"command": "echo no luck; exit 1"}})
    said, _ = process.communicate()
    assert process.returncode == 78
    assert said.endswith("The creation script ended with exit code 1. The end of its log:\nno luck\n")


def test_an_instance_that_is_stopped_ends_its_script_first(program: Path, tmp_path: Path):
    process = begin(program, tmp_path, setup_scripts={"creation_script": {"command": "echo $$ > pid; sleep 1000"}})
    pid = tmp_path / "home" / "pid"
    until(lambda: pid.exists() and pid.read_text())
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 0
    assert not Path("/proc", pid.read_text().strip()).exists()
    assert not (tmp_path / "home" / ".ultramarine" / "created").exists()


WRONG = [
    ({"setup_scripts": {"creation_script": {"timeout_minutes": 3}}}, "neither a command nor a file"),
    ({"setup_scripts": {"startup_script": {"file": "../x"}}}, "'../x' is no name of a file"),
    ({"setup_scripts": {"startup_script": {"command": "x", "timeout_minutes": -1}}}, "-1.0 is not more than 0"),
    ({"custom_applications": [{"name": "A b", "command": "x", "port": 8000}]}, "'A b' is not of small letters"),
    ({"custom_applications": [{"name": "a", "command": "x", "port": 80}]}, "port 80 of a is not between 1024"),
    ({"custom_applications": [{"name": "a", "command": " ", "port": 8000}]}, "a has no command"),
    ({"custom_applications": [{"name": "a", "command": "x", "port": 8000}] * 2}, "the same name"),
    ({"name": None, "workspace": None, "setup_scripts": 5}, "cannot be read"),
]


@pytest.mark.parametrize(("given", "words"), WRONG, ids=[words for _, words in WRONG])
def test_settings_that_cannot_be_are_refused_in_words(given: dict[str, Any], words: str, tmp_path: Path):
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"workspace": "w", "name": "n"} | given))
    with pytest.raises(BadSettings, match=words):
        load(file)


def test_an_application_is_kept_running_told_where_it_is_seen_and_ended(tmp_path: Path):
    command = "echo $PORT $BASE_PATH; echo $$ >> pids; test $(wc -l < pids) = 1 || exec sleep 1000"
    one = Application(name="board", command=command, port=6006)
    pids = tmp_path / "pids"
    with Applications(tmp_path, base="/instances/w/n/").started([one]):
        until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        last = pids.read_text().split()[-1]
        assert Path("/proc", last).exists()
    assert not Path("/proc", last).exists()
    log = (tmp_path / "applications" / "board.log").read_text()
    assert log.count("6006 /instances/w/n/proxy/board/") == 2
    assert "[board ended with exit code 0; it is started again]" in log
