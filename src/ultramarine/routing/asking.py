"""One request to a Unix socket of ours."""

import asyncio
from pathlib import Path


async def ask(socket: Path, method: str, path: str, *, timeout_s: float) -> tuple[int, bytes]:
    """Status and body of the answer. Raises OSError (TimeoutError is one).

    By hand, since this is asked at each turn: making a client costs far more.
    """
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_unix_connection(socket)
        try:
            request = f"{method} {path} HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            writer.write(request.encode("ascii"))
            answer = await reader.read()
        finally:
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.partition(b" ")[2][:3]
    if not status.isdigit():
        raise OSError("it broke off")
    return int(status), body
