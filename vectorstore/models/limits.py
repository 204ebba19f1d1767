"""How large the lists of an embedding may be: limits that keep a row, its point and a search over the points small."""

from __future__ import annotations

from django.db.models import CheckConstraint

from findme.core.db.expressions import HasAtMost, HasShortTexts

MOST_INTERESTS = 100
LONGEST_INTEREST = 100
"""In characters."""
MOST_VIDEO_FEATURES = 1024
"""As many as common video models give. Points of 4,096 take 700 MiB to write a thousand of them."""


def size_checks() -> list[CheckConstraint]:
    return [
        CheckConstraint(
            condition=HasAtMost("interests", most=MOST_INTERESTS),
            name="profile_embeddings_interests_count_check",
            violation_error_message=f"A user has at most {MOST_INTERESTS} interests.",
        ),
        CheckConstraint(
            condition=HasShortTexts("interests", longest=LONGEST_INTEREST),
            name="profile_embeddings_interests_length_check",
            violation_error_message=f"An interest has at most {LONGEST_INTEREST} characters.",
        ),
        CheckConstraint(
            condition=HasAtMost("video_features", most=MOST_VIDEO_FEATURES),
            name="profile_embeddings_video_features_count_check",
            violation_error_message=f"Video features are at most {MOST_VIDEO_FEATURES:,} numbers.",
        ),
    ]
