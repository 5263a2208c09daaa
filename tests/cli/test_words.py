"""What is typed, and what is said when it cannot be understood."""

from pathlib import Path

import pytest
from tests.cli.conftest import Um

from ultramarine import __version__
from ultramarine.cli.app import main
from ultramarine.cli.command import NOT_ALLOWED, OK, UNREACHABLE, USAGE
from ultramarine.cli.dispatch import load
from ultramarine.cli.groups import GROUPS, group_of
from ultramarine.cli.installation import still_there
from ultramarine.cli.parsing import attribute, parser_of

EVERY = [(noun, command.name) for noun in GROUPS for command in load(str(group_of(noun))).commands]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["jbo"], "um has no command 'jbo'; did you mean 'job'?"),
        (["job", "creat"], "um job has no command 'creat'; did you mean 'create'?"),
        (["job", "zzz"], "um job has no command 'zzz'."),
        (["job", "list", "--statsu", "x"], "um job list has no option '--statsu'; did you mean '--status'?"),
        (["job", "show"], "um job show needs --name or -n."),
        (["job", "show", "a", "-n", "b"], "two names are given, 'b' and 'a'"),
        (["job", "list", "-o", "xml"], "invalid choice: 'xml'"),
        (["job", "list", "-r", "many"], "invalid int value: 'many'"),
        (["online-deployment", "list"], "um online-deployment list needs --endpoint-name or -e."),
        (["online-endpoint", "update", "-n", "e", "--traffic", "blue"], "'blue' is not of the form deployment=percent"),
        (["up", "--listen", "10.0.0.1:x"], "--listen 10.0.0.1:x is no ADDRESS"),
    ],
)
def test_what_is_not_understood_is_named_with_the_nearest_known(um: Um, words: list[str], said: str):
    answered = um(*words)
    assert (answered.code, answered.out) == (USAGE, "")
    assert said.replace("'b' and 'a'", "'a' and 'b'") in answered.err
    assert "\n  next: " in answered.err


def test_without_a_server_the_next_step_is_to_start_one(um: Um, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ULTRAMARINE_HOME", str(tmp_path))
    for name in ("ULTRAMARINE_URL", "ULTRAMARINE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    answered = um("job", "list")
    assert (answered.code, answered.out) == (UNREACHABLE, "")
    assert "next: um up -d" in answered.err


def test_a_home_where_nothing_runs_says_so(um: Um, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ULTRAMARINE_URL", raising=False)
    shown = um("status", "--home", str(tmp_path / "home"))
    assert shown.code == UNREACHABLE
    assert "does not run in" in shown.err
    assert "next: um up -d" in shown.err
    ended = um("down", "--home", str(tmp_path / "home"))
    assert (ended.code, ended.err) == (OK, f"Ultramarine does not run in {tmp_path / 'home'}.\n")


def test_a_server_that_does_not_answer_and_a_wrong_token_have_codes_of_their_own(um: Um, signed_in: Path):
    assert um("job", "list", "--url", "http://127.0.0.1:1").code == UNREACHABLE
    assert um("job", "list", "--token", "wrong").code == NOT_ALLOWED


@pytest.mark.parametrize(
    ("words", "variable", "said"),
    [
        (["--listen", "https://a"], None, "--listen https://a is no ADDRESS"),
        (["--listen", "a:65535"], None, "--listen a:65535: 65535 is no port"),
        (["--listen", "127.0.0.1"], None, "--listen 127.0.0.1: this machine itself is served"),
        ([], ("ULTRAMARINE_LISTEN", "10.0.0.1,a b"), "--listen a b is no ADDRESS"),
        ([], ("ULTRAMARINE_SECOND_PORT", "x"), "ULTRAMARINE_SECOND_PORT='x' is no port"),
        (["--port", "7001"], ("ULTRAMARINE_SECOND_PORT", "7001"), "Port 7001 cannot be both"),
        (["--port", "7001"], ("ULTRAMARINE_INSTANCES_PORT", "7002"), "Port 7002 cannot be both"),
    ],
)
def test_what_cannot_be_listened_on_is_refused_with_who_said_it(
    um: Um,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    variable: tuple[str, str] | None,
    said: str,
):
    if variable is not None:
        monkeypatch.setenv(*variable)
    refused = um("up", "-d", "--home", str(tmp_path / "h"), *words)
    assert refused.code == USAGE
    assert said in refused.err
    assert not (tmp_path / "h").exists()


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]):
    main(["--version"])
    assert capsys.readouterr().out == f"ultramarine {__version__}\n"


def test_help_names_every_group_and_a_groups_help_every_command(um: Um, capfd: pytest.CaptureFixture[str]):
    main([])
    printed = capfd.readouterr().out
    assert all(f"  {noun} " in printed for noun in GROUPS)
    answered = um("job", "--help")
    assert answered.code == OK
    assert all(f"  {command.name} " in answered.out for command in load("job").commands)


@pytest.mark.parametrize(("noun", "name"), EVERY)
def test_every_command_has_help_and_every_option_that_it_needs(noun: str, name: str):
    group = load(str(group_of(noun)))
    command = group.find(name)
    assert command is not None
    assert command.summary in parser_of(group, command).format_help()
    assert set(command.needs) <= {attribute(option) for option in command.options}
    assert command.summary[0].isupper()
    assert command.summary.endswith(".")


@pytest.mark.parametrize("alias", ["endpoint", "deployment"])
def test_short_names_of_groups_are_taken(um: Um, alias: str):
    assert f"um online-{alias} COMMAND" in um(alias, "--help").out


def test_a_password_among_the_words_is_refused_and_not_shown_again(um: Um, signed_in: Path):
    for address in ("postgresql://ann:secret@db/um", "postgresql://ann@db/um?password=secret"):
        for words in (("up", "-d"), ("backup", "x.tar"), ("restore", __file__)):
            said = um(*words, "--database", address)
            assert said.code == 2
            assert "postgresql://ann@db/um" in said.err
            assert "~/.pgpass" in said.err
            assert "secret" not in said.err + said.out


def test_what_has_not_ended_is_named_the_first_few_of_it():
    run = {"workspace": "default", "noun": "job", "name": "train", "status": "Canceling"}
    node = {"key": "e1-c1-4", "compute": "c", "status": "Releasing"}
    assert still_there({"runs": [], "allocations": [], "machines": 0}) == ""
    there = still_there({"runs": [run], "allocations": [node], "machines": 1})
    assert there == "job train (Canceling), node e1-c1-4 of c (Releasing), 1 machine of the provider"
    assert still_there({"runs": [run] * 5, "allocations": []}) == "job train (Canceling), " * 3 + "2 more"
