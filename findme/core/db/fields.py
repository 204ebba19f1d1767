"""Fields for column types of PostgreSQL that Django does not have."""

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
        """Return the nearest number of four bytes.

        A number that is too small becomes 0, where PostgreSQL would raise an error. A number that is too large becomes an infinity.
        """
        prepared = super().get_prep_value(value)
        return ctypes.c_float(prepared).value if isinstance(prepared, float) else prepared

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "real"
