"""`python -m ultramarine_serving.gateway --config FILE`."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import sys
from pathlib import Path

import uvloop

from ultramarine_serving.gateway import config as configuration
from ultramarine_serving.gateway.config import Config
from ultramarine_serving.gateway.fields import BadFile
from ultramarine_serving.gateway.parent import Parent, reserve
from ultramarine_serving.gateway.worker import Worker
from ultramarine_serving.http.address import Address


def main() -> int:
    """Exit code 2: the configuration is not right; 1: a port is taken."""
    parser = argparse.ArgumentParser(prog="python -m ultramarine_serving.gateway", description=__doc__)
    parser.add_argument("--config", required=True, type=Path, metavar="FILE", help="gateway.json")
    path: Path = parser.parse_args().config
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        config = configuration.read(path)
    except BadFile as error:
        print(error, file=sys.stderr)
        return 2
    try:
        if config.workers == 1:
            run_worker(config, 0)
        else:
            run_workers(config)
    except OSError as error:
        where = ", ".join(f"{name} {address}" for name, address in config.listeners.items())
        print(
            f"Cannot listen ({where}): {error.strerror}. End what holds the port, or change gateway.json.",
            file=sys.stderr,
        )
        return 1
    return 0


def run_worker(config: Config, number: int) -> None:
    uvloop.install()
    asyncio.run(Worker(config, number=number).run())


def run_workers(config: Config) -> None:
    held = reserve(list(config.listeners.values()))
    ports = zip(config.listeners.items(), held)
    listeners = {name: Address(host=address.host, port=made.getsockname()[1]) for (name, address), made in ports}
    real = dataclasses.replace(config, listeners=listeners)
    Parent(lambda number: run_worker(real, number), workers=config.workers).run()


if __name__ == "__main__":
    sys.exit(main())
