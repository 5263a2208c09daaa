"""Where an installation listens: this machine's own ports, and addresses for other machines, which speak TLS alone."""

import errno
import ipaddress
import socket
from dataclasses import dataclass, replace

from ultramarine.supervision.errors import CannotStart

HOST = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::")
PORT_MAX = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """An address or a name of this machine that others reach, or all addresses (`EVERYWHERE`), and our ports there."""

    host: str
    port: int
    second_port: int
    instances_port: int

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """The three ports are this machine's alone, and plain; `outside` is what is added for others."""

    port: int
    second_port: int
    instances_port: int
    outside: tuple[Outside, ...] = ()

    def __str__(self) -> str:
        """As `--listen` takes it."""
        return ",".join(map(str, self.outside))

    @classmethod
    def parse(cls, text: str, *, port: int, second_port: int, instances_port: int) -> "Listening":
        """Read `ADDRESS[:PORT],…`. Raises `CannotStart`."""
        words = [word.strip() for word in text.split(",") if word.strip()]
        own = cls(port=port, second_port=second_port, instances_port=instances_port)
        return replace(own, outside=tuple(dict.fromkeys(_outside(word, own) for word in words)))

    def check(self) -> None:
        """Raises `CannotStart` when a port is taken, or an address is none of this machine."""
        _check(HOST, self.port, f"--port {self.port + 10}")
        _check(HOST, self.second_port, f"--second-port {self.second_port + 10}")
        _check(HOST, self.instances_port, f"--instances-port {self.instances_port + 10}")
        for each in self.outside:
            for port in (each.port, each.second_port, each.instances_port):
                _check(each.host, port, f"--listen {bracketed(each.host)}:{port + 10}")


def bracketed(host: str) -> str:
    """As it stands before a colon and a port."""
    return f"[{host}]" if ":" in host else host


def _outside(word: str, own: Listening) -> Outside:
    host, given = _split(word)
    if not host or (given and not given.isdecimal()) or any(letter in host for letter in "/@ "):
        raise CannotStart(
            f"--listen {word} is no ADDRESS and no ADDRESS:PORT.", hint="Example: um up --listen 192.168.1.5:7770"
        )
    first = int(given) if given else own.port
    if first != own.port:
        if not 0 < first <= PORT_MAX - 2:
            raise CannotStart(
                f"--listen {word}: {given} is no port, or there are not two after it for the other origins.",
                hint=f"Give 1 to {PORT_MAX - 2}.",
            )
        return Outside(host=host, port=first, second_port=first + 1, instances_port=first + 2)
    if host == "localhost" or _is_loopback(host):
        raise CannotStart(
            f"--listen {word}: this machine itself is served at {HOST}:{first} in any case, without TLS.",
            hint="Leave it out, or name an address that other machines reach.",
        )
    return Outside(host=host, port=first, second_port=own.second_port, instances_port=own.instances_port)


def _split(word: str) -> tuple[str, str]:
    """Host and port of `a`, `a:1`, `[::1]`, `[::1]:1` and `::1`; the port is empty where there is none."""
    if word.startswith("["):
        host, _, rest = word[1:].partition("]")
        return host, rest.removeprefix(":")
    if word.count(":") > 1:
        return word, ""
    host, _, port = word.partition(":")
    return host, port


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check(host: str, port: int, other: str) -> None:
    """`other` is the option that chooses another."""
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise CannotStart(
            f"--listen {host}: this name has no address: {error.strerror}.",
            hint="Give an address of this machine: ip address shows them.",
        ) from error
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError as error:
            raise _cannot_bind(error, host, port, other) from error


def _cannot_bind(error: OSError, host: str, port: int, other: str) -> CannotStart:
    if error.errno == errno.EADDRNOTAVAIL:
        return CannotStart(
            f"{host} is no address of this machine.",
            hint="ip address shows those that it has; --listen 0.0.0.0 is all of them.",
        )
    why = "another program listens on it" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
    return CannotStart(f"Port {port} of {host} cannot be used: {why}.", hint=f"Choose another: um up {other}.")
