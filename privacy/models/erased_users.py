"""Anonymized and deleted users."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from findme.core.db.dates import supported_dates
from findme.core.db.expressions import ClockTimestamp
from findme.core.db.restored import KEPT


class ErasedUser(models.Model):
    """A user who was anonymized or, with ``deleted``, deleted for good.

    Triggers add the row, and reject data of the user in every table. There is no foreign key, because the row outlives the user. To undo an
    erasure, the role that owns the table deletes the row. ``flush`` keeps the rows, because they protect users against copies of their data
    outside the database.
    """

    user_id = models.UUIDField(primary_key=True)
    erased_at = models.DateTimeField(db_default=ClockTimestamp(), editable=False)
    deleted = models.BooleanField(db_default=False, default=False)

    kept_by_flush = True
    after_restore: ClassVar[str] = KEPT

    class Meta:
        db_table = "erased_users"
        default_permissions = ("view",)
        constraints = [*supported_dates("erased_users", "erased_at")]

    def __str__(self) -> str:
        return str(self.user_id)
