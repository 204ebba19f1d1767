"""Backups in S3: what only its own interface can do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from backups.destinations.destination import NAME
from backups.destinations.object_store import ObjectDestination
from privacy.file_stores.object_store import S3Store


class S3Destination(ObjectDestination):
    """A folder of a bucket."""

    def remove_unfinished(self, older_than: timedelta | None, ending: str = "") -> int:
        """Abort multipart uploads of files of backups. What is next to the backups in the bucket is left alone."""
        removed = 0
        latest = None if older_than is None else datetime.now(UTC) - older_than
        with self.reached():
            for upload in list(self._uploads(ending)):
                if latest is None or self._written_at(upload) <= latest:
                    with suppress(FileNotFoundError):  # it has ended
                        self.files_of_store.call_s3("abort_multipart_upload", **_named(upload, self._bucket))
                        removed += 1
        return removed

    @property
    def _bucket(self) -> str:
        return self.root.partition("/")[0]

    def _uploads(self, ending: str) -> Iterator[dict[str, Any]]:
        prefix = f"{self.root.partition('/')[2]}/"
        position: dict[str, Any] = {}
        while True:
            page = self.files_of_store.call_s3("list_multipart_uploads", Bucket=self._bucket, Prefix=prefix, **position)
            for upload in page.get("Uploads", ()):
                parts = upload["Key"].removeprefix(prefix).split("/")
                if upload["Key"].startswith(prefix) and len(parts) == 2 and all(map(NAME.fullmatch, parts)) and parts[0].endswith(ending):
                    yield upload
            if not page.get("IsTruncated"):
                return
            position = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def _written_at(self, upload: dict[str, Any]) -> datetime:
        """Return when the last part was written. A large upload can have begun long ago and still run."""
        times: list[datetime] = [upload["Initiated"]]
        position: dict[str, Any] = {}
        while True:
            try:
                page = self.files_of_store.call_s3("list_parts", **_named(upload, self._bucket), **position)
            except FileNotFoundError:  # it has ended
                return datetime.now(UTC)
            times += [part["LastModified"] for part in page.get("Parts", ())]
            if not page.get("IsTruncated"):
                return max(times)
            position = {"PartNumberMarker": page["NextPartNumberMarker"]}

    def _delete_file(self, name: str, file: str) -> None:
        """Delete all versions: a backup that a versioned bucket keeps has the data of erased users."""
        _Versions(self).delete(f"{name}/{file}")


class _Versions(S3Store):
    """The files of the destination with all their versions, with the errors of the destination."""

    def __init__(self, destination: S3Destination) -> None:
        self.destination = destination
        self.files, self.root = destination.files_of_store, destination.root

    @contextmanager
    def reached(self) -> Iterator[None]:
        with self.destination.reached():
            yield


def _named(upload: dict[str, Any], bucket: str) -> dict[str, str]:
    return {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
