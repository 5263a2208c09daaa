"""`python -m ultramarine_serving.gateway --config FILE`."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import sys
from pathlib import Path

import uvloop

from ultramarine_serving.gateway import collector
from ultramarine_serving.gateway import config as configuration
from ultramarine_serving.gateway.config import Config, Tls
from ultramarine_serving.gateway.fields import BadFile
from ultramarine_serving.gateway.ports import reserve
from ultramarine_serving.gateway.worker import Worker
from ultramarine_serving.http.address import Address
from ultramarine_serving.parent import Forked, Parent


def main() -> int:
    """Exit code 2: the configuration is not right; 1: a port is taken."""
    parser = argparse.ArgumentParser(prog="python -m ultramarine_serving.gateway", description=__doc__)
    parser.add_argument("--config", required=True, type=Path, metavar="FILE", help="gateway.json")
    path: Path = parser.parse_args().config
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        return run(configuration.read(path))
    except BadFile as error:
        print(error, file=sys.stderr)
        return 2


def run(config: Config) -> int:
    try:
        if config.workers == 1:
            run_worker(config, 0)
        else:
            run_workers(config)
    except OSError as error:
        where = ", ".join(map(str, config.addresses))
        print(
            f"Cannot listen ({where}): {error.strerror}. End what holds the port, or change gateway.json.",
            file=sys.stderr,
        )
        return 1
    return 0


def run_worker(config: Config, number: int) -> None:
    collector.settle()
    uvloop.install()
    asyncio.run(Worker(config, number=number).run())


def run_workers(config: Config) -> None:
    held = reserve(config.addresses)  # open for as long as the workers live
    ports = iter([made.getsockname()[1] for made in held])

    def bound(address: Address) -> Address:
        return Address(host=address.host, port=next(ports))

    listeners, tls = {name: bound(address) for name, address in config.listeners.items()}, config.tls
    if tls is not None:
        tls = Tls(tls.certificate, {name: tuple(map(bound, addresses)) for name, addresses in tls.listeners.items()})
    real = dataclasses.replace(config, listeners=listeners, tls=tls)
    Parent(Forked(lambda number: run_worker(real, number)), workers=config.workers).run()


if __name__ == "__main__":
    sys.exit(main())
