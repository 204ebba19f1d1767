"""Form errors for database errors: a rule that full_clean cannot see, or a row that another transaction wrote in between."""

from __future__ import annotations

from collections.abc import Collection

from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError

from findme.core.admin.edit_conflicts import ConflictCheckedForm
from findme.core.db.violations import translate


def to_validation_error(error: IntegrityError | DataError, fields: Collection[str]) -> ValidationError:
    """ERROR in words, on the field of FIELDS that it is about."""
    if isinstance(error, IntegrityError):
        return translate(error).as_validation_error(fields)
    return ValidationError("PostgreSQL cannot store one of these values: it is too large, or has a character that no text may hold.")


class DatabaseErrorForm(ConflictCheckedForm):
    """A form that can be shown once more with what the database said."""

    db_error: IntegrityError | DataError | None = None
    """Set on the class, which the admin makes anew for every request."""

    def _post_clean(self) -> None:
        """The model's own check may see by now what the database saw: then its words are enough."""
        super()._post_clean()
        if self.db_error is not None and not self.errors:
            self.add_error(None, to_validation_error(self.db_error, self.fields))
