"""Rows for the tests of the schema, in plain SQL."""

from __future__ import annotations

import pytest

from tests.schema.rows import ANN, BOB, CEM, MATCH, VIDEO, insert


@pytest.fixture
def users(db: None) -> None:
    """Insert Ann, Bob and Cem, a match of Ann and Bob in the first week of 1999, and a video of Ann."""
    for key, name in ((ANN, "ann"), (BOB, "bob"), (CEM, "cem")):
        insert("users", id=key, email=f"{name}@example.com", full_name=name.title())
    insert("matches", id=MATCH, user_id=ANN, matched_user_id=BOB, week_number=1, year=1999)
    insert("videos", id=VIDEO)
