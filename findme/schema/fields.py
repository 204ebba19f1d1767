"""Column types that PostgreSQL has and Django's fields lack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

if TYPE_CHECKING:
    _FloatField = models.FloatField[float, float]
else:
    _FloatField = models.FloatField


class RealField(_FloatField):
    """A ``real``: four bytes, as Qdrant stores the numbers of a vector."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "real"
