"""Migration operations that add CHECK constraints to large tables that are in use."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models import CheckConstraint, Model

from findme.core.errors import UserFacingError

NAMED = 10
"""Maximum number of keys in an error."""


class AddChecks(Operation):
    """Add CHECK constraints for new rows only (``NOT VALID``).

    Needs ``ValidateChecks`` in a later migration.
    Adding a valid constraint reads the whole table under a lock that blocks every query. This operation takes the lock only for a moment.
    If existing rows break a constraint, it raises UserFacingError with their keys and changes nothing.
    """

    reduces_to_sql = True
    reversible = True

    def __init__(self, model_name: str, constraints: Sequence[CheckConstraint]) -> None:
        self.model_name, self.constraints = model_name, list(constraints)

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        for constraint in self.constraints:
            state.add_constraint(app_label, self.model_name.lower(), constraint)

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        check_existing_rows(schema_editor, model, self.constraints)
        for constraint in self.constraints:
            schema_editor.execute(f"{constraint.create_sql(model, schema_editor)} NOT VALID", params=None)

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        for constraint in reversed(self.constraints):
            schema_editor.execute(str(constraint.remove_sql(model, schema_editor)))

    def describe(self) -> str:
        return f"Add {len(self.constraints)} checks on {self.model_name} for new rows"


class ValidateChecks(Operation):
    """Validate constraints of ``AddChecks`` for the existing rows.

    Other sessions can read and write the table meanwhile.
    Raises UserFacingError with the keys of the rows that break a constraint.
    """

    reduces_to_sql = True
    reversible = True

    def __init__(self, model_name: str, names: Sequence[str]) -> None:
        self.model_name, self.names = model_name, list(names)

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Do nothing: Django's state does not contain whether a constraint is valid."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        check_existing_rows(schema_editor, model, checks_named(model, self.names))
        validate = ", ".join(f"VALIDATE CONSTRAINT {schema_editor.quote_name(name)}" for name in self.names)
        schema_editor.execute(f"ALTER TABLE {schema_editor.quote_name(model._meta.db_table)} {validate}")

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Make the constraints NOT VALID again. PostgreSQL can do that only if they are created again."""
        model = from_state.apps.get_model(app_label, self.model_name)
        for constraint in checks_named(model, self.names):
            schema_editor.execute(str(constraint.remove_sql(model, schema_editor)))
            schema_editor.execute(f"{constraint.create_sql(model, schema_editor)} NOT VALID", params=None)

    def describe(self) -> str:
        return f"Validate {len(self.names)} checks on {self.model_name}"


class RemoveChecks(Operation):
    """Remove CHECK constraints that later rows may break.

    The reverse adds them again, and as ``NOT VALID`` if rows break them: such rows stay.
    """

    reduces_to_sql = True
    reversible = True

    def __init__(self, model_name: str, names: Sequence[str]) -> None:
        self.model_name, self.names = model_name, list(names)

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        for name in self.names:
            state.remove_constraint(app_label, self.model_name.lower(), name)

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        for constraint in checks_named(model, self.names):
            schema_editor.execute(str(constraint.remove_sql(model, schema_editor)))

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        for constraint in checks_named(model, self.names):
            schema_editor.execute(f"{constraint.create_sql(model, schema_editor)} NOT VALID", params=None)
            with suppress(UserFacingError):
                check_existing_rows(schema_editor, model, [constraint])
                table, name = schema_editor.quote_name(model._meta.db_table), schema_editor.quote_name(constraint.name)
                schema_editor.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")

    def describe(self) -> str:
        return f"Remove {len(self.names)} checks on {self.model_name}"


def checks_named(model: type[Model], names: Sequence[str]) -> list[CheckConstraint]:
    by_name = {one.name: one for one in model._meta.constraints if isinstance(one, CheckConstraint)}
    return [by_name[name] for name in names]


def check_existing_rows(schema_editor: BaseDatabaseSchemaEditor, model: type[Model], constraints: Sequence[CheckConstraint]) -> None:
    """Raise UserFacingError if rows of the table break one of ``constraints``.

    The error has their number and at most ``NAMED`` keys, and no other value of a row.
    """
    if schema_editor.collect_sql:
        return
    quote = schema_editor.quote_name
    table, key = quote(model._meta.db_table), quote(str(model._meta.pk.column))
    conditions = [one._get_check_sql(model, schema_editor) for one in constraints]  # type: ignore[attr-defined]  # what create_sql uses
    with schema_editor.connection.cursor() as cursor:
        counts = ", ".join(f"count(*) FILTER (WHERE NOT ({condition}))" for condition in conditions)
        cursor.execute(f"SELECT {counts} FROM {table}")  # noqa: S608  # names and conditions of the models
        broken = [one for one in zip(constraints, conditions, cursor.fetchone(), strict=True) if one[-1]]
        if not broken:
            return
        found = []
        for constraint, condition, count in broken:
            cursor.execute(f"SELECT {key} FROM {table} WHERE NOT ({condition}) ORDER BY 1 LIMIT {NAMED}")  # noqa: S608  # as above
            keys = ", ".join(str(row[0]) for row in cursor.fetchall())
            more = ", ..." if count > NAMED else ""
            rows = "1 row" if count == 1 else f"{count} rows"
            found.append(f"{constraint.name}: {rows} ({keys}{more}). {constraint.get_violation_error_message()}")
    raise UserFacingError(
        f"Table {model._meta.db_table} has rows that break a new constraint: nothing was changed. {' '.join(found)}"
        " Correct these rows, then run manage.py migrate again."
    )
