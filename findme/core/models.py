"""What every model here has: columns, validation that agrees with the database, and a save that never brings back what is gone."""

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
    """A row whose rules are the database's. ``full_clean()`` refuses what PostgreSQL would refuse, each with a sentence on its field."""

    constraint_fields: ClassVar[dict[str, str]] = {}
    """The field that the sentence of a constraint on several fields is put on, by the constraint's name."""
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
        """A row that was read is updated, never made again: Django would insert it if somebody has erased it meanwhile.

        Raises DatabaseError if the row is gone. What the database wrote itself is read again when it is next asked for.
        """
        read_before = not self._state.adding and self.pk is not None and using in (None, self._state.db) and not force_insert
        super().save(force_insert=force_insert, force_update=force_update or read_before, using=using, update_fields=update_fields)
        if read_before:
            for field in self._meta.concrete_fields:
                if field.generated or field.attname in self.written_by_database:
                    self.__dict__.pop(field.attname, None)

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        errors: dict[str, list[ValidationError]] = {}
        for field in self._meta.concrete_fields:
            if field.name in (exclude or ()) or field.generated:
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
        """As Django's, but with each sentence on the field that it is about, and once."""
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
    """A random UUID as the key, made by Python or, for a plain INSERT, by the database; and the time of the transaction that made the row."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        abstract = True


class TimestampedModel(IdentifiedModel):
    """A row that can change: a trigger keeps ``updated_at``; ``deleted_at`` is the soft deletion."""

    written_by_database = frozenset({"updated_at"})

    updated_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True
