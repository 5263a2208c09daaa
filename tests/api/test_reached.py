"""Links in answers lead to where the client came from."""

from collections.abc import Mapping

import pytest
from fastapi import Request
from tests import factories

from ultramarine.api import reached
from ultramarine.api.reached import Reached

SITE = factories.make_site(
    address="http://127.0.0.1:7770", instances_address="http://127.0.0.1:7772", ports={8443: (9000, 9007)}
)
HERE = Reached(address=SITE.address, second_address=SITE.second_address, instances_address=SITE.instances_address)


def asked(headers: Mapping[str, str]) -> Reached:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return reached.reached_by(Request({"type": "http", "headers": raw}), SITE)


def test_what_came_by_tls_is_answered_with_the_name_that_it_asked_for():
    found = asked({"x-forwarded-proto": "https", "host": "gpu.example:8443"})
    assert found == Reached(
        address="https://gpu.example:8443",
        second_address="https://gpu.example:9000",
        instances_address="https://gpu.example:9007",
    )
    assert asked({"x-forwarded-proto": "https", "host": "[fd00::5]:7"}).second_address == "https://[fd00::5]:8"
    assert asked({"x-forwarded-proto": "https", "host": "[fd00::5]:7"}).instances_address == "https://[fd00::5]:9"
    assert asked({"x-forwarded-proto": "https", "host": "gpu.example"}).address == "https://gpu.example:443"


@pytest.mark.parametrize("host", ["127.0.0.1:7770", "evil.example", ""])
def test_what_came_plain_is_answered_with_this_machines_own_address(host: str):
    assert asked({"x-forwarded-proto": "http", "host": host}) == HERE
    assert asked({"host": host}) == HERE


@pytest.mark.parametrize("host", ["a/b", "a@b:1", 'a"b', "a b", "[::1", "a:x", ""])
def test_what_is_no_name_of_a_host_is_in_no_link(host: str):
    assert asked({"x-forwarded-proto": "https", "host": host}) == HERE
