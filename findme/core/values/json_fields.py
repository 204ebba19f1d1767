"""A JSON column that other programs write too: what this one does not change keeps every digit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.fields.json import KeyTransform
from django.forms.fields import InvalidJSONInput

from findme.core.values.exact_json import ExactDecoder, ExactEncoder, RawJSON, loads

if TYPE_CHECKING:
    _JSONField = models.JSONField[Any, Any]
else:
    _JSONField = models.JSONField

TOO_DEEP = "This has too many levels of lists and objects in one another."


class ExactJSONFormField(forms.JSONField):
    """A text area that shows a document with its digits. A document that is too deep for Python is shown, and refused with a sentence."""

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except RecursionError as error:
            raise ValidationError(TOO_DEEP, code="invalid") from error

    def bound_data(self, data: Any, initial: Any) -> Any:
        try:
            return super().bound_data(data, initial)
        except RecursionError:
            return InvalidJSONInput(data)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return str(initial) != data if isinstance(initial, RawJSON) else super().has_changed(initial, data)


class ExactJSONField(_JSONField):
    """Django's ``JSONField`` with exact numbers: a float or an int where that writes the same digits, else an ``ExactNumber``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"encoder": ExactEncoder, "decoder": ExactDecoder})

    def deconstruct(self) -> Any:
        name, path, args, options = super().deconstruct()
        del options["encoder"], options["decoder"]
        return name, path, args, options

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """A document that is too deep for Python is a ``RawJSON``. So is JSON's ``null``, which Django would save as NULL."""
        if value == "null" and not isinstance(expression, KeyTransform):
            return RawJSON(value)
        try:
            return super().from_db_value(value, expression, connection)
        except RecursionError:
            return loads(value)

    def formfield(self, **options: Any) -> Any:
        return super().formfield(**{"form_class": ExactJSONFormField, **options})
