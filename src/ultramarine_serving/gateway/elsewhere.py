"""What is on another machine, as the route table says it."""

from __future__ import annotations

import re

from ultramarine_serving.gateway.fields import BadFile, Fields
from ultramarine_serving.http.tls import Expected


def expected_of(value: object, where: str, *, ca: str | None) -> Expected:
    """Who must answer there, and what is said to it. Raises BadFile."""
    fields = Fields(value, where)
    if ca is None:
        raise BadFile(f"table.ca must be given: {where} names what it has signed.")
    expected = Expected(name=fields.text("name"), ca=ca, secret=fields.text("secret"))
    fields.done()
    if not re.fullmatch(r"[!-~]+", expected.secret):
        raise BadFile(f"{where}.secret must be visible ASCII.")  # its value is not to be shown
    return expected
