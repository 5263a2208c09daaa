"""Reading raw request bodies."""

from fastapi import Request

from ultramarine.domain.errors import TooLarge


async def limited(request: Request, bytes_max: int) -> bytes:
    """The whole body, or `TooLarge` as soon as it is past the limit."""
    held = bytearray()
    async for chunk in request.stream():
        held += chunk
        if len(held) > bytes_max:
            raise TooLarge(f"The request has more than {bytes_max} bytes.", hint="Send it in smaller parts.")
    return bytes(held)
