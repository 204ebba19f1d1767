"""A JSON field that keeps every digit of values that FindMe does not change.

Other programs write these columns too.
"""

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

TOO_DEEP = "This has too many levels of nested lists and objects."


class ExactJSONFormField(forms.JSONField):
    """A text area that shows a document with all its digits.

    A document that is too deep for Python is shown, and rejected with an error message.
    """

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
    """Django's ``JSONField`` with exact numbers.

    A number is a float or an int if that writes the same digits, otherwise an ``ExactNumber``.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"encoder": ExactEncoder, "decoder": ExactDecoder})

    def deconstruct(self) -> Any:
        name, path, args, options = super().deconstruct()
        del options["encoder"], options["decoder"]
        return name, path, args, options

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """Return the value. A document that is too deep, and the JSON ``null``, become ``RawJSON``.

        Django would save the JSON ``null`` as NULL.
        """
        if value == "null" and not isinstance(expression, KeyTransform):
            return RawJSON(value)
        try:
            return super().from_db_value(value, expression, connection)
        except RecursionError:
            return loads(value)

    def formfield(self, **options: Any) -> Any:
        return super().formfield(**{"form_class": ExactJSONFormField, **options})
