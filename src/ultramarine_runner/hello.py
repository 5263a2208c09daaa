"""The first word to the control plane."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass

from . import PROTOCOL, machine
from .config import Config
from .nvml import Nvml
from .wire import JSON, Channel, Refused, Unreachable, backoff, words


@dataclass(frozen=True)
class Welcome:
    """What hello was answered with; `sent_boot_s` is when it was sent, on the boot clock."""

    token: str
    lease_s: float
    beat_s: float
    sent_boot_s: float


def greet(config: Config, channel: Channel, *, limits: str, nvml: Nvml | None) -> Welcome:
    """Say hello until it is heard; `limits`: by what they are held here. Dismissed and Refused: exit, start nothing."""
    message = {
        "protocol": PROTOCOL,
        "allocation": config.allocation,
        "rank": config.rank,
        "epoch": config.epoch,
        "nonce": os.urandom(32).hex(),
        "join_secret": config.join_secret,
        "machine": {**machine.describe(config.folder, config.cache, nvml), "limits": limits},
    }
    body, said = json.dumps(message).encode(), ""
    for wait in backoff():
        sent = machine.boot_s()
        try:
            answer = channel.request("POST", "/runner/v1/hello", body, content_type=JSON)
            if answer.status != 200:
                raise Refused(answer.status, f"hello was refused: {answer.status} {words(answer)}")
            raw = answer.json()
            return Welcome(str(raw["node_token"]), float(raw["lease_s"]), float(raw["beat_s"]), sent)
        except Unreachable as error:
            if str(error) != said:  # once: it may be tried for as long as the server is away
                said = str(error)
                print(f"runner: {said}", file=sys.stderr, flush=True)
            time.sleep(wait)
    raise AssertionError("unreachable")
