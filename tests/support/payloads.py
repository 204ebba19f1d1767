"""The expected payload of a point, from the models. The sync and the verification read rows instead."""

from __future__ import annotations

from typing import Any

from accounts.age import today
from accounts.models import User
from vectorstore.models import ProfileEmbedding
from vectorstore.projection.payload import Profile, payload_from


def payload_of(user: User, embedding: ProfileEmbedding) -> dict[str, Any]:
    """Return the payload of today."""
    profile = Profile(
        user.pk,
        user.date_of_birth,
        user.gender,
        user.active,
        user.verified,
        user.created_at,
        embedding.location,
        embedding.interests,
        embedding.video_features,
    )
    return payload_from(profile, today())
