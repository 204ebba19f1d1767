"""Ids and files of the demo data: the users of its fixture, and its login for the admin."""

from __future__ import annotations

import json
from uuid import UUID

from findme.environment import PACKAGES_DIR

FIXTURE = PACKAGES_DIR / "fixtures" / "demo.json"
EMBEDDINGS = PACKAGES_DIR / "fixtures" / "demo_embeddings.parquet"
ADMIN_ID = UUID("f1d0de30-0000-4000-8000-00000000ad01")
ADMIN_EMAIL = "admin@example.com"
JOHN, JANE = "john@example.com", "jane@example.com"


def demo_user_ids() -> frozenset[UUID]:
    """Return the ids of the demo users and of the demo login."""
    rows = json.loads(FIXTURE.read_text(encoding="utf-8"))
    return frozenset({ADMIN_ID, *(UUID(row["pk"]) for row in rows if row["model"] == "accounts.user")})
