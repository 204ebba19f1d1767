"""A digest over the ids and versions of all points of a collection. It shows whether two collections hold the same points."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256

from findme.core.commands.progress import Report, ignore_progress
from vectorstore.qdrant.scroll import record_pages

PAGE_SIZE = 5000


@dataclass(frozen=True, slots=True)
class VersionDigest:
    """``points`` counts the points of the collection. ``highest_version`` is 0 if no point has a version. ``digest`` is a SHA-256 in hex."""

    points: int
    highest_version: int
    digest: str


def version_digest(collection: str, report: Report = ignore_progress) -> VersionDigest:
    """Return the digest. The points are read in the order of their ids, so the order in which they were written has no effect.

    A version that no worker can have written (another type, or no version) is a part of the digest too. Raise StoreUnavailable.
    """
    digest, points, highest = sha256(), 0, 0
    for page in record_pages(collection, PAGE_SIZE, with_payload=["version"], with_vectors=False):
        for record in page:
            version = (record.payload or {}).get("version")
            digest.update(f"{record.id} {json.dumps(version, sort_keys=True)}\n".encode())
            if type(version) is int:
                highest = max(highest, version)
        points += len(page)
        report(points)
    return VersionDigest(points, highest, digest.hexdigest())
