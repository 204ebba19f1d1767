"""The SQL of the migration guide, unchanged."""

from __future__ import annotations

from findme.migrator.baseline.scratch import GUIDE_FOLDER, GUIDE_TABLES

GUIDE = "\n".join(path.read_text() for path in sorted(GUIDE_FOLDER.glob("*.up.sql")))
TABLES = GUIDE_TABLES

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
