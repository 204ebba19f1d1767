"""The payload of a user's point, computed from the current rows: Qdrant is a projection of PostgreSQL.

A user has a point if and only if there is a row in ``profile_embeddings``, each of ``accounts.models.HIDING_COLUMNS`` is null, and the user is not
staff.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from accounts.age import age_group, age_on
from vectorstore.models.interests import distinct


@dataclass(frozen=True, slots=True)
class Profile:
    """The values of a user's rows from which the payload is made."""

    user_id: UUID
    date_of_birth: date
    gender: str
    active: bool
    verified: bool
    created_at: datetime
    location: dict[str, float] | None
    interests: list[str]
    video_features: list[float] | None


def payload_from(profile: Profile, day: date) -> dict[str, Any]:
    """Return the payload, which search filters and other services read.

    NULL values are omitted, because Qdrant's filters treat both the same way. Interests that plain SQL wrote are normalized, and empty ones are
    omitted. ``age`` is in whole years on ``day``, and ``created_at`` is the user's, in the format of RFC 3339.
    """
    age = age_on(profile.date_of_birth, day)
    payload = {
        "user_id": str(profile.user_id),
        "age": age,
        "age_group": age_group(age),
        "gender": profile.gender,
        "active": profile.active,
        "verified": profile.verified,
        "created_at": profile.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "location": profile.location,
        "interests": [interest for interest in distinct(profile.interests) if interest],
        "video_features": profile.video_features,
    }
    return {name: value for name, value in payload.items() if value is not None}


def payload_fields() -> frozenset[str]:
    """Return the names of all fields that ``payload_from`` can write."""
    day = date(2000, 1, 1)
    moment = datetime(2000, 1, 1, tzinfo=UTC)
    complete = Profile(UUID(int=0), day, "other", True, True, moment, {"lat": 0.0, "lon": 0.0}, ["interest"], [0.0])
    return frozenset(payload_from(complete, day))
