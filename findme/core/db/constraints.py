"""Foreign keys with ON DELETE in the database, also of several columns."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def foreign_key(to: str, *, related_name: str, null: bool = False, primary_key: bool = False) -> Any:
    """Return a foreign key field without a constraint or index: both are declared in ``Meta``.

    ``to`` is the label of a model. The database applies ``on_delete``, by a ``ForeignKeyConstraint``. A primary key is a ``OneToOneField``.
    """
    kind = models.OneToOneField if primary_key else models.ForeignKey
    return kind(
        to,
        on_delete=models.DO_NOTHING,
        related_name=related_name,
        null=null,
        blank=null,
        primary_key=primary_key,
        db_constraint=False,
        # A one-to-one field has an index and says so.
        db_index=primary_key,
    )


class ForeignKeyConstraint(models.BaseConstraint):
    """A named foreign key, deferred to the end of the transaction, with its ON DELETE in the database.

    Django applies ``on_delete`` in Python: its constraint has no ON DELETE clause, so a ``DELETE`` in psql fails. Therefore the fields are created
    by ``foreign_key``, and this constraint is in ``Meta.constraints``. It can have several columns. Django's ``ForeignKey`` cannot.

    ``columns`` and ``to_columns`` (by default ``id``) are names of columns, and ``to_table`` is the name of a table. ``set_null`` are the columns
    that SET NULL clears, by default all ``columns``. The default message names the model of ``to_table``.
    Raises ValueError for lists of different lengths, an unknown ``on_delete``, or a wrong ``set_null``.
    """

    default_violation_error_message = "There is no such %(target)s."

    ON_DELETE = ("CASCADE", "SET NULL", "NO ACTION")

    def __init__(
        self,
        *,
        columns: list[str],
        to_table: str,
        on_delete: str,
        name: str,
        to_columns: list[str] | None = None,
        set_null: list[str] | None = None,
        violation_error_code: str | None = None,
        violation_error_message: str | None = None,
    ) -> None:
        to_columns = ["id"] if to_columns is None else to_columns
        if len(columns) != len(to_columns) or not columns:
            raise ValueError(f"{name}: {columns!r} cannot refer to {to_columns!r}: the lists differ in length or are empty")
        if on_delete not in self.ON_DELETE:
            raise ValueError(f"{name}: on_delete is {on_delete!r} and must be one of {', '.join(self.ON_DELETE)}")
        if set_null is not None and (on_delete != "SET NULL" or not set_null or not set(set_null) <= set(columns)):
            raise ValueError(f"{name}: set_null is {set_null!r} and must be some of {columns!r}, with on_delete='SET NULL'")
        super().__init__(name=name, violation_error_code=violation_error_code, violation_error_message=violation_error_message)
        self.columns, self.to_table, self.to_columns, self.on_delete = list(columns), to_table, list(to_columns), on_delete
        self.set_null = None if set_null is None else list(set_null)

    def constraint_sql(self, model: type[models.Model] | None, schema_editor: BaseDatabaseSchemaEditor | None) -> str:
        assert schema_editor is not None
        quote = schema_editor.quote_name
        own, other = (", ".join(map(quote, names)) for names in (self.columns, self.to_columns))
        cleared = f" ({', '.join(map(quote, self.set_null))})" if self.set_null else ""
        return (
            f"CONSTRAINT {quote(self.name)} FOREIGN KEY ({own}) REFERENCES {quote(self.to_table)} ({other})"
            f" ON DELETE {self.on_delete}{cleared} DEFERRABLE INITIALLY DEFERRED"
        )

    def create_sql(self, model: type[models.Model] | None, schema_editor: BaseDatabaseSchemaEditor | None) -> str:
        assert model is not None and schema_editor is not None
        table = schema_editor.quote_name(model._meta.db_table)
        return f"ALTER TABLE {table} ADD {self.constraint_sql(model, schema_editor)}"

    def remove_sql(self, model: type[models.Model] | None, schema_editor: BaseDatabaseSchemaEditor | None) -> str:
        assert model is not None and schema_editor is not None
        quote = schema_editor.quote_name
        return f"ALTER TABLE {quote(model._meta.db_table)} DROP CONSTRAINT {quote(self.name)}"

    def get_violation_error_message(self) -> str:
        target = model_of(self.to_table)
        return str(self.violation_error_message) % {"name": self.name, "target": target._meta.verbose_name if target else self.to_table}

    def validate(
        self,
        model: type[models.Model],
        instance: models.Model,
        exclude: set[str] | None = None,
        using: str = DEFAULT_DB_ALIAS,
    ) -> None:
        """Do nothing: a field validates itself, and ``Model.clean()`` validates a key of several columns."""

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ForeignKeyConstraint):
            return self.deconstruct() == other.deconstruct()
        return NotImplemented

    def deconstruct(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        path, args, kwargs = super().deconstruct()
        kwargs |= {"columns": self.columns, "to_table": self.to_table, "to_columns": self.to_columns, "on_delete": self.on_delete}
        return path, tuple(args), kwargs if self.set_null is None else kwargs | {"set_null": self.set_null}


def model_of(table: str | None) -> type[models.Model] | None:
    """Return the installed model with this table, or None."""
    return next((model for model in apps.get_models(include_auto_created=True) if model._meta.db_table == table), None)
