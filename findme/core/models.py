"""Abstract base models: common columns, validation as in the database, and a safe ``save()``."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from typing import ClassVar

from django.contrib.postgres.functions import RandomUUID, TransactionNow
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models, router

from findme.core.db.validators import validate_storable
from findme.core.db.violations import field_for_constraint


class StoredModel(models.Model):
    """A model whose rules are the constraints of the database.

    ``full_clean()`` rejects what PostgreSQL would reject, with an error message on the field.
    """

    constraint_fields: ClassVar[dict[str, str]] = {}
    """For a constraint on several fields: its name, and the field that shows its error message."""
    trigger_rules: ClassVar[dict[str, str]] = {}
    """For a rule that a trigger enforces: the constraint that the trigger names in its error, and the error message. ``clean()`` checks the rule."""
    written_by_database: ClassVar[frozenset[str]] = frozenset()
    """The columns that a trigger writes."""

    class Meta:
        abstract = True

    def save(
        self,
        *,
        force_insert: bool | tuple[models.base.ModelBase, ...] = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Save the row. A row that was read from the database is only updated, never inserted.

        Django would insert it again if another session had erased it. Raises DatabaseError if the row no longer exists.
        Columns that the database writes are read again at the next access.
        """
        read_before = not self._state.adding and self.pk is not None and using in (None, self._state.db) and not force_insert
        super().save(force_insert=force_insert, force_update=force_update or read_before, using=using, update_fields=update_fields)
        if read_before:
            for field in self._meta.concrete_fields:
                if field.attname in self.written_by_database:
                    self.__dict__.pop(field.attname, None)

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        errors: dict[str, list[ValidationError]] = {}
        for field in self._meta.concrete_fields:
            if field.name in (exclude or ()):
                continue
            try:
                validate_storable(field, getattr(self, field.attname))
            except ValidationError as error:
                errors[field.name] = error.error_list
        try:
            super().clean_fields(exclude={*(exclude or ()), *errors})
        except ValidationError as error:
            errors |= error.error_dict
        if errors:
            raise ValidationError(errors)

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        """Check the constraints as Django does, but put each message on its field, and only once."""
        using = router.db_for_write(type(self), instance=self)
        sentences: dict[str, list[str]] = {}
        for model, constraints in self.get_constraints():
            for constraint in constraints:
                try:
                    constraint.validate(model, self, exclude=set(exclude or ()), using=using)
                except ValidationError as error:
                    messages = sentences.setdefault(field_for_constraint(model, constraint) or NON_FIELD_ERRORS, [])
                    messages.extend(sentence for sentence in error.messages if sentence not in messages)
        if sentences:
            raise ValidationError(sentences)


class IdentifiedModel(StoredModel):
    """A model with a random UUID as its key and the start time of the transaction that inserted the row.

    Python generates the key. For a plain INSERT the database generates it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        abstract = True


class TimestampedModel(IdentifiedModel):
    """A model whose rows can change. A trigger writes ``updated_at``. ``deleted_at`` marks soft deletion."""

    written_by_database = frozenset({"updated_at"})

    updated_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True
