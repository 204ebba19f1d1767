"""Who was anonymized or deleted for good: the table that keeps them so."""

from __future__ import annotations

from django.db import models

from findme.schema.dates import supported_dates
from findme.schema.expressions import ClockTimestamp


class ErasedUser(models.Model):
    """A user who was anonymized, or ``deleted`` for good. Triggers add the row, and refuse data of such a user in every table.

    No foreign key: the row outlives the user. To take an erasure back, the role that owns the table deletes the row. ``flush`` keeps the rows, because
    they protect users against copies of their data outside the database.
    """

    user_id = models.UUIDField(primary_key=True)
    erased_at = models.DateTimeField(db_default=ClockTimestamp(), editable=False)
    deleted = models.BooleanField(db_default=False, default=False)

    kept_by_flush = True

    class Meta:
        db_table = "erased_users"
        default_permissions = ("view",)
        constraints = [*supported_dates("erased_users", "erased_at")]

    def __str__(self) -> str:
        return str(self.user_id)
