"""Columns that every table has."""

from __future__ import annotations

import uuid

from django.contrib.postgres.functions import RandomUUID, TransactionNow
from django.db import models


class IdentifiedModel(models.Model):
    """A random UUID as the key, made by Python or, for a plain INSERT, by the database; and the time of the transaction that made the row."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        abstract = True


class TimestampedModel(IdentifiedModel):
    """A row that can change: a trigger keeps ``updated_at``; ``deleted_at`` is the soft deletion."""

    updated_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True
