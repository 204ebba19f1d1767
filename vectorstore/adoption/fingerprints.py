"""Fingerprints of the points of a collection in constant memory, to find the points that were written since."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import IO
from uuid import UUID

from findme.core.errors import UserFacingError
from vectorstore.qdrant.pages import Points

ID, HASH = 16, 16
"""Bytes of a point's id, and of the hash of its vector. Both make one fingerprint."""
LAST = b"\xff" * (ID + HASH + 1)
"""Sorts after every fingerprint, and equals none."""


class Fingerprints:
    """The fingerprints of all points whose id is a UUID, in the order of the ids, in an anonymous temporary file in ``folder``."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        with self._one_line_error():
            self.file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed by ``close``

    def add(self, page: Points) -> None:
        """Add the points of the next page. Raises UserFacingError if the folder has no room."""
        with self._one_line_error():
            self.file.write(b"".join(_of(page)))

    def read(self) -> Known:
        """Return the fingerprints from the beginning. Raises UserFacingError if the folder has no room."""
        with self._one_line_error():
            self.file.seek(0)
        return Known(self.file)

    def close(self) -> None:
        with suppress(OSError):  # what a full disk did not take
            self.file.close()

    @contextmanager
    def _one_line_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserFacingError(
                f"The folder {str(self.folder or tempfile.gettempdir())!r} cannot take a temporary file: {error.strerror or error}. Make room, or"
                " name another folder with --temporary-folder."
            ) from error


class Known:
    """Earlier fingerprints, which are compared with the pages of a later read in the same order."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.next = b""

    def written(self, page: Points) -> frozenset[UUID]:
        """Return the ids of the points of the page that are new or have another vector than before."""
        return frozenset(user for user, now in zip(page.ids, _of(page), strict=True) if not self._has(now))

    def _has(self, now: bytes) -> bool:
        while self.next[:ID] < now[:ID]:
            self.next = self.file.read(ID + HASH) or LAST
        return self.next == now


def _of(page: Points) -> list[bytes]:
    return [user.bytes + blake2b(vector.tobytes(), digest_size=HASH).digest() for user, vector in zip(page.ids, page.vectors, strict=True)]
