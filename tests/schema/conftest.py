"""Three people, a match of two of them, and a video, in plain SQL."""

from __future__ import annotations

import pytest

from tests.schema.rows import ANN, BOB, CEM, MATCH, VIDEO, insert


@pytest.fixture
def users(db: None) -> None:
    """Ann, Bob and Cem; Ann and Bob have a match in the first week of 1999, and Ann a video."""
    for key, name in ((ANN, "ann"), (BOB, "bob"), (CEM, "cem")):
        insert("users", id=key, email=f"{name}@example.com", full_name=name.title())
    insert("matches", id=MATCH, user_id=ANN, matched_user_id=BOB, week_number=1, year=1999)
    insert("videos", id=VIDEO)
