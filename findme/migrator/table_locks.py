"""Lock tables that services write, so that no writer fails with a deadlock."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.backends.utils import CursorWrapper

BLOCK_WRITES = "SHARE ROW EXCLUSIVE"
"""The mode of CREATE TRIGGER and of a new foreign key. Writers wait, readers do not."""
BLOCK_ALL = "ACCESS EXCLUSIVE"
"""The mode of most forms of ALTER TABLE."""

_WAIT_LESS_THAN_A_DEADLOCK = """
    SELECT set_config('lock_timeout', greatest(1, least(nullif(own.setting::int, 0), deadlock.reset_val::int / 2))::text, true)
    FROM pg_settings own, pg_settings deadlock WHERE own.name = 'lock_timeout' AND deadlock.name = 'deadlock_timeout'
"""


def lock_tables(cursor: CursorWrapper, locks: Iterable[tuple[str, str]]) -> None:
    """Lock each table in its mode, in this order, until the transaction ends. The names are quoted if necessary.

    While one table is locked, a writer may wait for it and hold another one. So every later wait of the transaction ends before PostgreSQL checks
    for a deadlock, and no writer fails because of it.
    """
    for table, mode in locks:
        cursor.execute(f"LOCK TABLE {table} IN {mode} MODE")
        wait_less_than_a_deadlock(cursor)


def wait_less_than_a_deadlock(cursor: CursorWrapper) -> None:
    """Until the transaction ends, wait for a lock no longer than half of ``deadlock_timeout``."""
    cursor.execute(_WAIT_LESS_THAN_A_DEADLOCK)
