"""Column types that PostgreSQL has and Django's fields lack."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

if TYPE_CHECKING:
    _FloatField = models.FloatField[float, float]
else:
    _FloatField = models.FloatField


class RealField(_FloatField):
    """A ``real``: four bytes, as Qdrant stores the numbers of a vector."""

    def get_prep_value(self, value: Any) -> Any:
        """The nearest number of four bytes, so that what is too small is 0, not an error of PostgreSQL, and what is too large is an infinity."""
        prepared = super().get_prep_value(value)
        return ctypes.c_float(prepared).value if isinstance(prepared, float) else prepared

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "real"
