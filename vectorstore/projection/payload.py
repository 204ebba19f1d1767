"""A person's point, as it follows from the current rows: PostgreSQL is the truth, and Qdrant a projection of it.

A person has a point if and only if there is a row in ``profile_embeddings``, ``deleted_at`` is null, and they are not staff.
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
    """What a person's payload is made of, as the tables have it."""

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
    """What a search filters by, and what other services read. What is NULL is left out: Qdrant's filters take both alike. Interests that plain SQL
    wrote are put as they are compared, without empty ones.

    ``age`` in whole years on DAY, ``created_at`` the person's, by RFC 3339.
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
