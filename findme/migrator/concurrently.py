"""Build indexes while the table is in use, and find the invalid ones that an interrupted build leaves."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.contrib.postgres import operations
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import ProjectState

from findme.core.db.session import session_settings

_CONCURRENTLY = re.compile(r"\bCONCURRENTLY\b", re.IGNORECASE)


class AddIndexConcurrently(operations.AddIndexConcurrently):
    """Django's ``AddIndexConcurrently``, which can also run again after an interrupted build.

    It first drops an INVALID index of this name. It keeps a valid one: a process built it and was killed before it recorded the
    migration. Use it in a migration with ``atomic = False`` and no other operation.
    """

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        self._ensure_not_in_transaction(schema_editor)
        name = schema_editor.quote_name(self.index.name)
        if is_valid(schema_editor.connection, name) is False:
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        if is_valid(schema_editor.connection, name) is None:
            super().database_forwards(app_label, schema_editor, from_state, to_state)


def is_valid(connection: BaseDatabaseWrapper, quoted_name: str) -> bool | None:
    """Return whether the index is valid; None if it does not exist. ``quoted_name`` can contain the schema."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [quoted_name])
        row = cursor.fetchone()
    return None if row is None else bool(row[0])


def invalid_indexes(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the names of the INVALID indexes that no process is building now.

    Every write maintains such an index, and no query uses it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT i.indexrelid::regclass::text FROM pg_index i
            WHERE NOT i.indisvalid
            AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
            ORDER BY 1
            """
        )
        return [row[0] for row in cursor.fetchall()]


def no_lock_timeout_for_concurrently(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Wrap ``connection.execute_wrapper``: run a statement with CONCURRENTLY without ``lock_timeout``.

    Such a statement waits for every older transaction to end, and no other transaction waits behind it. If it were interrupted, it would
    leave an INVALID index each time.
    """
    if not _CONCURRENTLY.search(str(sql)):
        return execute(sql, params, many, context)
    with session_settings(context["connection"], lock_timeout="0"):
        return execute(sql, params, many, context)
