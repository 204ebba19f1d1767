"""The only way to delete rows of the audit log and of the ledger: a function of the database, which refuses young rows."""

from __future__ import annotations

from django.db import connection
from django.db.models import Model


def delete_expired_records(model: type[Model]) -> int:
    """Delete the expired rows of ``AuditEntry`` or ``LedgerEntry``, in several transactions, and return their number."""
    deleted = 0
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT delete_expired_records(%s::regclass)", [connection.ops.quote_name(model._meta.db_table)])
            (rows,) = cursor.fetchone()
            if not rows:
                return deleted
            deleted += rows
