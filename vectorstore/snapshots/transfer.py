"""Snapshots on their way, by plain HTTP: the driver would hold a whole one in memory. Streamed, and hashed as they pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
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
"""Bytes that are read and hashed at a time."""


@contextmanager
def rest(address: Address, *, answer_seconds: float) -> Iterator[httpx.Client]:
    """A connection to the server; an answer may take ANSWER_SECONDS to begin, everything else as long as any request.

    ``identity``: Qdrant would compress what it sends, and then not say how long it is. Errors leave the block as UserFacingError or
    StoreUnavailable.
    """
    headers = {"Accept-Encoding": "identity"} | ({"api-key": address.api_key} if address.api_key else {})
    host = f"[{address.host}]" if ":" in address.host else address.host
    base = f"{address.parts.scheme}://{host}:{address.port}{address.parts.path}"
    try:
        with httpx.Client(base_url=base, headers=headers, timeout=httpx.Timeout(address.timeout, read=answer_seconds)) as client:
            yield client
    except httpx.HTTPError as error:
        if isinstance(error, httpx.ReadTimeout) and answer_seconds != address.timeout:
            raise StoreUnavailable(
                f"Qdrant at {address} did not answer within {answer_seconds:g} s: see whether it runs and what its log says, and give it more time"
                " with --wait."
            ) from error
        raise to_user_facing_error(ResponseHandlingException(error), address) from error


def download(address: Address, collection: str, name: str, file: BinaryIO, *, size: int, report: Report) -> str:
    """Write the snapshot NAME, of SIZE bytes, into FILE; its SHA-256 in hex. Raises StoreUnavailable, and UserFacingError for one that is
    not there."""
    digest, done = hashlib.sha256(), 0
    path = f"/collections/{quote(collection, safe='')}/snapshots/{quote(name, safe='')}"
    with rest(address, answer_seconds=address.timeout) as client, client.stream("GET", path) as response:
        _check(response, address, missing=f"Qdrant at {address} has no snapshot {name!r} any more: see manage.py qdrant_snapshot list.")
        for chunk in response.iter_bytes():
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            report(done, size)
    if done != size:
        raise StoreUnavailable(f"Of the snapshot {name!r}, {done:,} of {size:,} bytes came from {address}: run it again.")
    return digest.hexdigest()


def make(address: Address, collection: str, *, seconds: float) -> str:
    """Have the server make a snapshot of the collection, and wait for it; its name. Raises UserFacingError, StoreUnavailable."""
    with rest(address, answer_seconds=seconds) as client:
        response = client.post(f"/collections/{quote(collection, safe='')}/snapshots", params={"wait": "true"})
        _check(response, address)
        return str(response.json()["result"]["name"])


def upload(address: Address, collection: str, path: Path, sha256: str, *, name: str, seconds: float, report: Report) -> None:
    """Have the server make COLLECTION of the snapshot at PATH, sent as NAME, which it compares with SHA256 itself; SECONDS for its answer.

    What the snapshot says wins over what is there (``priority=snapshot``). Raises UserFacingError for what the server refuses,
    StoreUnavailable.
    """
    parameters = {"wait": "true", "priority": "snapshot", "checksum": sha256}
    with path.open("rb") as file, rest(address, answer_seconds=seconds) as client:
        upload_file = _ReportingFile(file, path.stat().st_size, report)
        response = client.post(
            f"/collections/{quote(collection, safe='')}/snapshots/upload",
            params=parameters,
            files={"snapshot": (name, upload_file)},  # type: ignore[dict-item]  # anything that reads and seeks will do
        )
        _check(response, address)


def ask(address: Address, path: str, **parameters: str) -> Any:
    """What the server answers to a GET of PATH. Raises StoreUnavailable."""
    with rest(address, answer_seconds=address.timeout) as client:
        response = client.get(path, params=parameters)
        _check(response, address)
        return response.json()["result"]


def sha256_of(path: Path, report: Report) -> str:
    """In hex."""
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
