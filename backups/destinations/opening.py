"""Open the place that a command names."""

from __future__ import annotations

from backups.destinations.destination import Destination
from backups.destinations.folder import FolderDestination
from backups.destinations.object_store import ObjectDestination
from backups.destinations.s3 import S3Destination
from findme.core.errors import UserFacingError


def open_destination(url: str) -> Destination:
    """Return the place at ``url``: a folder (a path or ``file://``), or a URL of fsspec. It need not be reachable yet.

    Raises UserFacingError for an address that fsspec does not know, and for a whole bucket.
    """
    if not url:
        raise UserFacingError("The destination is empty. Name a folder, or an address such as s3://BUCKET/backups.")
    if "://" not in url or url.startswith("file://"):
        return FolderDestination(url)
    return S3Destination(url) if url.startswith(("s3://", "s3a://")) else ObjectDestination(url)
