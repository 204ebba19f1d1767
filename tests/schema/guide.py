"""The SQL of the migration guide, unchanged."""

from __future__ import annotations

from pathlib import Path

GUIDE = (Path(__file__).parent / "guide.sql").read_text()
TABLES = ("users", "videos", "matches", "video_calls")

SOFT_DELETE = "UPDATE users SET deleted_at = NOW() WHERE id = 'user_uuid';"
HARD_DELETE = "DELETE FROM users WHERE id = 'user_uuid'; -- Cascades to related data"
ANONYMIZE = """
UPDATE users
SET
    email = 'deleted_' || id || '@findme.ai',
    full_name = 'Deleted User',
    bio = NULL,
    password_hash = '',
    deleted_at = NOW()
WHERE id = 'user_uuid';
"""
