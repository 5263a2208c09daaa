"""Where an installation listens, as it is said, refused and remembered."""

from pathlib import Path

import pytest

from ultramarine.supervision.errors import CannotStart
from ultramarine.supervision.home import last_listening, write_gateway_config
from ultramarine.supervision.listening import Listening, Outside

from .conftest import free_port

OWN = {"port": 7770, "second_port": 7799, "instances_port": 7800}


@pytest.mark.parametrize(
    ("text", "outside"),
    [
        ("", ()),
        ("10.0.0.5", (Outside(host="10.0.0.5", port=7770, second_port=7799, instances_port=7800),)),
        ("gpu.example:8443", (Outside(host="gpu.example", port=8443, second_port=8444, instances_port=8445),)),
        ("fd00::5", (Outside(host="fd00::5", port=7770, second_port=7799, instances_port=7800),)),
        ("[fd00::5]:8443", (Outside(host="fd00::5", port=8443, second_port=8444, instances_port=8445),)),
        ("127.0.0.1:8443", (Outside(host="127.0.0.1", port=8443, second_port=8444, instances_port=8445),)),
    ],
)
def test_an_address_has_the_installations_ports_or_its_own_and_reads_back_as_it_is_written(
    text: str, outside: tuple[Outside, ...]
):
    read = Listening.parse(text, **OWN)
    assert read.outside == outside
    assert Listening.parse(str(read), **OWN) == read


@pytest.mark.parametrize("text", ["https://a", "a:0", "a:65535", "a:x", "a@b", ":1", "localhost", "127.0.0.1", "::1"])
def test_what_is_no_address_for_others_is_refused(text: str):
    with pytest.raises(CannotStart, match=r"^--listen ") as refused:
        Listening.parse(text, **OWN)
    assert refused.value.hint


def test_an_address_of_another_machine_cannot_be_listened_on():
    port = free_port()
    with pytest.raises(CannotStart, match=r"198\.51\.100\.7 is no address of this machine"):
        Listening.parse("198.51.100.7", port=port, second_port=port + 1, instances_port=port + 2).check()


@pytest.mark.parametrize("text", ["", "10.0.0.5,gpu.example:8443"])
def test_it_is_remembered_for_who_has_to_start_it_once_more(tmp_path: Path, text: str):
    (tmp_path / "gateway").mkdir()
    assert last_listening(tmp_path) is None
    listening = Listening.parse(text, **OWN)
    write_gateway_config(tmp_path, listening)
    assert last_listening(tmp_path) == listening
