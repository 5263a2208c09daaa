"""Blobs named by the SHA-256 of their bytes, in a local folder.

What is there is whole: written aside, checked, renamed.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from ultramarine.domain.errors import Conflict, InvalidInput, NotFound, TooLarge
from ultramarine.domain.names import is_sha256
from ultramarine.files.reserve import Reserve

CHUNK_BYTES = 1 << 20


class Blobs:
    def __init__(self, folder: Path, reserve: Reserve) -> None:
        self._reserve = reserve
        self._folder, self._aside = folder / "sha256", folder / "incoming"
        self._aside.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def has(self, sha256: str) -> bool:
        return self._path(sha256).exists()

    def missing(self, wanted: Iterable[str]) -> list[str]:
        return [sha256 for sha256 in dict.fromkeys(wanted) if not self.has(sha256)]

    def path(self, sha256: str) -> Path:
        """Where its bytes are. Raises `NotFound`."""
        if not self.has(sha256):
            raise NotFound("file", sha256, hint="Upload it first.")
        return self._path(sha256)

    def read(self, sha256: str) -> bytes:
        """The whole of a small blob."""
        return self.path(sha256).read_bytes()

    def put(self, content: bytes) -> str:
        """Keep a small blob; its name."""
        sha256 = hashlib.sha256(content).hexdigest()
        if not self.has(sha256):
            aside = self._temporary()
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self._keep(aside, sha256)
        return sha256

    async def receive(self, sha256: str, chunks: AsyncIterator[bytes], *, bytes_max: int) -> bool:
        """Keep a stream whose hash is `sha256`; False when it was there.

        Raises `Conflict` when the bytes are others, `TooLarge` when there are more than `bytes_max`, `DiskFull`.
        """
        if self.has(sha256):
            return False
        await self.take(chunks, bytes_max=bytes_max, wanted=sha256)
        return True

    async def take(self, chunks: AsyncIterator[bytes], *, bytes_max: int, wanted: str | None = None) -> str:
        """Keep a stream under the name that its bytes have; its name.

        Raises `Conflict` when that is not the `wanted` one, `TooLarge` when there are more than `bytes_max`,
        `DiskFull`.
        """
        aside = self._temporary()
        try:
            found = await _write_all(aside, chunks, bytes_max=bytes_max, reserve=self._reserve)
            if wanted not in (None, found):
                raise Conflict(
                    f"The bytes sent have SHA-256 {found}, not {wanted}.",
                    hint="The file changed while it was sent: try again.",
                )
            if not self.has(found):
                self._keep(aside, found)
        finally:
            aside.unlink(missing_ok=True)
        return found

    def _path(self, sha256: str) -> Path:
        if not is_sha256(sha256):
            raise InvalidInput(f"{sha256[:80]!r} is no SHA-256.", hint="Files are named by 64 hexadecimal digits.")
        return self._folder / sha256[:2] / sha256

    def _temporary(self) -> Path:
        return self._aside / os.urandom(12).hex()

    def _keep(self, aside: Path, sha256: str) -> None:
        target = self._path(sha256)
        target.parent.mkdir(exist_ok=True, mode=0o700)
        os.chmod(aside, 0o400)
        os.replace(aside, target)


async def _write_all(path: Path, chunks: AsyncIterator[bytes], *, bytes_max: int, reserve: Reserve) -> str:
    """Write a stream to disk, off the event loop: that must stay free. The SHA-256 of what was written."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        async for chunk in _gathered(chunks):
            size += len(chunk)
            if size > bytes_max:
                raise TooLarge(
                    f"The file has more than {bytes_max} bytes.",
                    hint="Raise ULTRAMARINE_UPLOAD_BYTES_MAX, or split it.",
                )
            reserve.check(len(chunk))
            await asyncio.to_thread(_write, file.fileno(), chunk, digest)
        await asyncio.to_thread(os.fsync, file.fileno())
    return digest.hexdigest()


async def _gathered(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Larger pieces: a change of thread for each 64 KiB would cost more than the writing."""
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        if len(held) >= CHUNK_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


def _write(descriptor: int, chunk: bytes, digest: "hashlib._Hash") -> None:  # pyright: ignore[reportPrivateUsage]
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]
    digest.update(chunk)
