"""Size limits for the lists of an embedding, which keep its row, its point and a search small."""

from __future__ import annotations

from django.db.models import CheckConstraint

from findme.core.db.expressions import HasAtMost, HasShortTexts

MOST_INTERESTS = 100
LONGEST_INTEREST = 100
"""In characters."""
MOST_VIDEO_FEATURES = 1024
"""The number that common video models return. Writing a thousand points with 4,096 each takes 700 MiB."""


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
