"""Download and upload snapshots over plain HTTP.

The data is streamed and hashed on the way. qdrant-client would hold a whole snapshot in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import httpx
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from findme.core.commands.progress import Report
from findme.core.errors import StoreUnavailable, UserFacingError
from vectorstore.qdrant.address import Address
from vectorstore.qdrant.errors import to_user_facing_error

CHUNK = 1 << 20
"""Bytes read and hashed at a time."""


@contextmanager
def rest(address: Address, *, answer_seconds: float) -> Iterator[httpx.Client]:
    """Open an HTTP client for the server at ``address``.

    The server may take ``answer_seconds`` to begin its answer. Every other step has the timeout of a normal request. The block raises
    UserFacingError or StoreUnavailable instead of httpx errors.
    """
    # "identity": Qdrant would otherwise compress the body and not send its length.
    headers = {"Accept-Encoding": "identity"} | ({"api-key": address.api_key} if address.api_key else {})
    host = f"[{address.host}]" if ":" in address.host else address.host
    base = f"{address.parts.scheme}://{host}:{address.port}{address.parts.path}"
    try:
        with httpx.Client(base_url=base, headers=headers, timeout=httpx.Timeout(address.timeout, read=answer_seconds)) as client:
            yield client
    except httpx.HTTPError as error:
        if isinstance(error, httpx.ReadTimeout) and answer_seconds != address.timeout:
            raise StoreUnavailable(
                f"Qdrant at {address} did not answer within {answer_seconds:g} s. Check that it runs, read its log, and increase --wait."
            ) from error
        raise to_user_facing_error(ResponseHandlingException(error), address) from error


def download(address: Address, collection: str, name: str, file: BinaryIO, *, size: int, report: Report) -> str:
    """Write the snapshot ``name``, of ``size`` bytes, to ``file``. Return its SHA-256 in hex.

    Raises StoreUnavailable, and UserFacingError for a snapshot that does not exist.
    """
    digest, done = hashlib.sha256(), 0
    with chunks_of(address, collection, name, size=size) as chunks:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            report(done, size)
    return digest.hexdigest()


@contextmanager
def chunks_of(address: Address, collection: str, name: str, *, size: int) -> Iterator[Iterator[bytes]]:
    """Yield the bytes of the snapshot ``name`` in pieces, as the server sends them. After the last one, the number of bytes is compared with ``size``.

    Raises StoreUnavailable, and UserFacingError for a snapshot that does not exist.
    """
    path = f"/collections/{quote(collection, safe='')}/snapshots/{quote(name, safe='')}"

    def counted(response: httpx.Response) -> Iterator[bytes]:
        done = 0
        for chunk in response.iter_bytes():
            done += len(chunk)
            yield chunk
        if done != size:
            raise StoreUnavailable(
                f"Only {done:,} of {size:,} bytes of the snapshot {name!r} arrived from {address}. Run the command again."
            )

    with rest(address, answer_seconds=address.timeout) as client, client.stream("GET", path) as response:
        _check(response, address, missing=f"Qdrant at {address} no longer has a snapshot {name!r}. See manage.py qdrant_snapshot list.")
        yield counted(response)


def server_time(address: Address) -> datetime:
    """Return the time of the server's clock, to the second. Raises UserFacingError, StoreUnavailable."""
    with rest(address, answer_seconds=address.timeout) as client:
        response = client.get("/")
        _check(response, address)
        return parsedate_to_datetime(response.headers["date"])


def make(address: Address, collection: str, *, seconds: float) -> str:
    """Create a snapshot of the collection on the server and return its name. Raises UserFacingError, StoreUnavailable."""
    with rest(address, answer_seconds=seconds) as client:
        response = client.post(f"/collections/{quote(collection, safe='')}/snapshots", params={"wait": "true"})
        _check(response, address)
        return str(response.json()["result"]["name"])


def upload(address: Address, collection: str, path: Path, sha256: str, *, name: str, seconds: float, report: Report) -> None:
    """Upload the snapshot at ``path`` under the name ``name``, and have the server restore ``collection`` from it.

    The server compares the file with ``sha256`` and has ``seconds`` to answer. The snapshot's data takes precedence over existing data
    (``priority=snapshot``). Raises UserFacingError if the server rejects the file, StoreUnavailable.
    """
    parameters = {"wait": "true", "priority": "snapshot", "checksum": sha256}
    with path.open("rb") as file, rest(address, answer_seconds=seconds) as client:
        upload_file = _ReportingFile(file, path.stat().st_size, report)
        response = client.post(
            f"/collections/{quote(collection, safe='')}/snapshots/upload",
            params=parameters,
            files={"snapshot": (name, upload_file)},  # type: ignore[dict-item]  # httpx only needs read() and seek()
        )
        _check(response, address)


def ask(address: Address, path: str, **parameters: str) -> Any:
    """Return the ``result`` of a GET request for ``path``. Raises StoreUnavailable."""
    with rest(address, answer_seconds=address.timeout) as client:
        response = client.get(path, params=parameters)
        _check(response, address)
        return response.json()["result"]


def sha256_of(path: Path, report: Report) -> str:
    """Return the SHA-256 of the file, in hex."""
    digest, done, size = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            report(done, size)
    return digest.hexdigest()


class _ReportingFile:
    """A file that reports how much of it has been read."""

    def __init__(self, file: BinaryIO, size: int, report: Report) -> None:
        self.file, self.size, self.report = file, size, report

    def read(self, count: int = -1) -> bytes:
        chunk = self.file.read(max(count, CHUNK) if count >= 0 else count)
        self.report(self.file.tell(), self.size)
        return chunk

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def fileno(self) -> int:
        return self.file.fileno()


def _check(response: httpx.Response, address: Address, *, missing: str = "") -> None:
    if response.status_code == 200:
        return
    content = response.read()
    if response.status_code == 404 and missing:
        raise UserFacingError(missing)
    raise to_user_facing_error(UnexpectedResponse(response.status_code, response.reason_phrase, content, response.headers), address)
