"""Translate constraint violations of the database to an error message on the right field.

The name of the constraint identifies the message.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import IntegrityError, models

from findme.core.db.constraints import ForeignKeyConstraint, model_of

OF_ERASED_USER = "_erased_user_check"
"""Suffix of the rules that keep data of anonymized and deleted users out of a table. Triggers enforce them."""


def is_of_erased_user(error: IntegrityError) -> bool:
    """Return whether the database rejected data of a user who was anonymized or permanently deleted."""
    return (getattr(getattr(error.__cause__, "diag", None), "constraint_name", None) or "").endswith(OF_ERASED_USER)


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule of the database that was broken.

    ``model`` is None if no model has the rule. ``field`` is None if the rule is about no field or about several fields.
    """

    constraint: str
    """The name of the constraint. Empty for NOT NULL."""
    model: type[models.Model] | None
    field: str | None
    sentence: str

    def as_validation_error(self, fields: Collection[str]) -> ValidationError:
        """Return the error for a form with ``fields``: on the right field, or on the whole form."""
        where = self.field if self.field in fields else None
        return ValidationError({where or NON_FIELD_ERRORS: [self.sentence]})


def translate(error: IntegrityError) -> Violation:
    """Return the violation, found by the table, constraint and column in PostgreSQL's error."""
    diagnosis = getattr(error.__cause__, "diag", None)
    name, column = getattr(diagnosis, "constraint_name", None) or "", getattr(diagnosis, "column_name", None)
    model = model_of(getattr(diagnosis, "table_name", None))
    if model is not None and column is not None:
        field = next(field for field in model._meta.concrete_fields if field.column == column)
        return Violation(name, model, field.name, str(field.error_messages["null"]))
    for constraint in model._meta.constraints if model is not None else ():
        if constraint.name == name and model is not None:
            return Violation(name, model, field_for_constraint(model, constraint), str(constraint.get_violation_error_message()))
    if model is not None and name in (sentences := _declared(model, "trigger_rules")):
        return Violation(name, model, _declared(model, "constraint_fields").get(name), sentences[name])
    if model is not None and name == f"{model._meta.db_table}_pkey":
        return Violation(name, model, model._meta.pk.name, "There is another row with this key.")
    if is_of_erased_user(error):
        return Violation(
            name, model, None, "A user of this row was anonymized or permanently deleted: no data of this user can be written."
        )
    return Violation(name, model, None, f"The database rejected this: it breaks the rule {name!r}.")


def field_for_constraint(model: type[models.Model], constraint: models.BaseConstraint) -> str | None:
    """Return the field that shows the message of the constraint, or None.

    It is the field in ``constraint_fields`` of the model, otherwise the only field of the constraint.
    """
    fields = fields_of(model, constraint)
    return _declared(model, "constraint_fields").get(constraint.name) or (next(iter(fields)) if len(fields) == 1 else None)


def fields_of(model: type[models.Model], constraint: models.BaseConstraint) -> set[str]:
    """Return the fields of the constraint, without those of its condition."""
    names = set(_names_in(model, constraint))
    return {field.name for field in model._meta.concrete_fields if names & {field.name, field.column}}


def _declared(model: type[models.Model], attribute: str) -> dict[str, str]:
    """Return an attribute of ``StoredModel``. Other models have none."""
    found: dict[str, str] = getattr(model, attribute, {})
    return found


def _names_in(model: type[models.Model], constraint: models.BaseConstraint) -> Iterator[str]:
    if isinstance(constraint, ForeignKeyConstraint):
        yield from constraint.columns
    elif isinstance(constraint, models.UniqueConstraint):
        yield from constraint.fields
        for expression in constraint.expressions:
            yield from _sources(model, expression)
    elif isinstance(constraint, models.CheckConstraint):
        yield from _sources(model, constraint.condition)


def _sources(model: type[models.Model], expression: Any) -> set[str]:
    return {path[0] for path in model._get_expr_references(expression)}  # type: ignore[attr-defined]  # what Django's own checks use
