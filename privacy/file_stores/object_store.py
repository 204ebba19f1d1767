"""A store that fsspec can reach, such as S3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from privacy.file_stores.store import CHUNK_BYTES, FileStore
from privacy.object_stores import open_object_store, require_bucket

BLOCK_BYTES = 8 * CHUNK_BYTES
"""What one request reads. The default of s3fs is 50 MiB, which one export would hold in memory."""


class ObjectStore(FileStore):
    """Files of a store that fsspec can reach."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        with self.reached():
            self.files, self.root = open_object_store(url)

    def size(self, path: str) -> int | None:
        with self.reached():
            try:
                found = self.files.info(self._full(path), refresh=True)
            except FileNotFoundError:
                require_bucket(self.files, self.root)
                return None
            return int(found["size"]) if found["type"] == "file" else None

    def chunks(self, path: str) -> Iterator[bytes]:
        with self.reached(), self.files.open(self._full(path), "rb", block_size=BLOCK_BYTES) as file:
            while piece := file.read(CHUNK_BYTES):
                yield piece

    def delete(self, path: str) -> bool:
        if self.size(path) is None:
            return False
        with self.reached():
            self.files.rm_file(self._full(path))
        return True

    def _full(self, path: str) -> str:
        return f"{self.root}/{path}"


class S3Store(ObjectStore):
    """A bucket. Without its versions, a deleted object of a versioned bucket could be read again."""

    def delete(self, path: str) -> bool:
        with self.reached():
            versions = list(self._versions(path))
            for version in versions:
                self.files.call_s3("delete_object", **self._named(path), VersionId=version)
            return bool(versions)

    def is_gone(self, path: str) -> bool:
        with self.reached():
            return not any(self._versions(path)) and self.size(path) is None

    def _versions(self, path: str) -> Iterator[str]:
        """Yield the ids of all versions and deletion marks of the object."""
        name = self._named(path)
        position: dict[str, Any] = {}
        while True:
            page = self.files.call_s3("list_object_versions", Bucket=name["Bucket"], Prefix=name["Key"], **position)
            found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            yield from (version["VersionId"] for version in found if version["Key"] == name["Key"])
            # The keys are in order, and no other key that begins with this one comes before it.
            if not page.get("IsTruncated") or page.get("NextKeyMarker", "") > name["Key"]:
                return
            position = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}

    def _named(self, path: str) -> dict[str, str]:
        bucket, _, key = self._full(path).partition("/")
        return {"Bucket": bucket, "Key": key}
