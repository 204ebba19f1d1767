"""Form errors for database errors.

The database can reject a row that ``full_clean()`` accepted, for example because another transaction wrote a row in between.
"""

from __future__ import annotations

from collections.abc import Collection

from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError

from findme.core.admin.edit_conflicts import ConflictCheckedForm
from findme.core.db.violations import translate


def to_validation_error(error: IntegrityError | DataError, fields: Collection[str]) -> ValidationError:
    """Return the form error for ``error``, on its field if ``fields`` has it."""
    if isinstance(error, IntegrityError):
        return translate(error).as_validation_error(fields)
    return ValidationError(
        "PostgreSQL cannot store one of these values: it is too large or has a forbidden character. Correct it and save again."
    )


class DatabaseErrorForm(ConflictCheckedForm):
    """A form that can be shown again with the database error."""

    db_error: IntegrityError | DataError | None = None
    """Set on the class. The admin creates a new form class for every request."""

    def _post_clean(self) -> None:
        """Add the database error, unless the validation of the model now finds the same problem."""
        super()._post_clean()
        if self.db_error is not None and not self.errors:
            self.add_error(None, to_validation_error(self.db_error, self.fields))
