"""Validation of values that Django's fields accept and PostgreSQL cannot store.

It runs before the database is queried and gives an error message.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.expressions import BaseExpression, DatabaseDefault

from findme.core.values.exact_json import MOST_DIGITS, ExactNumber, digits_of, fits_numeric

NOT_JSON = "This cannot be written as JSON: it has a NaN, an infinity, or too much depth."


def validate_storable(field: models.Field[Any, Any], value: object) -> None:
    """Raise ValidationError if the type of the column of ``field`` cannot store ``value``.

    Constraints of the column are not checked here.
    """
    if isinstance(value, (BaseExpression, DatabaseDefault)):
        return
    if value is None:
        if not (field.null or field.primary_key):
            raise ValidationError(field.error_messages["null"], code="null")
        return
    if isinstance(field, models.JSONField):
        _check_json(field, value)
    try:
        for text in _texts(value):
            _check_text(text)
    except RecursionError as error:
        raise ValidationError(NOT_JSON, code="invalid") from error


def _check_json(field: models.JSONField[Any, Any], value: object) -> None:
    """Raise ValidationError for NaN, infinity, too much depth, and numbers too long for PostgreSQL.

    Python's ``json`` writes NaN and infinity, although JSON does not have them. Django reports a value that has no JSON type.
    """
    try:
        json.dumps(value, cls=field.encoder, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise ValidationError(NOT_JSON, code="invalid") from error
    except TypeError:
        return
    try:
        numbers_fit = all(fits_numeric(digits) for digits in _long_numbers(value))
    except RecursionError as error:
        raise ValidationError(NOT_JSON, code="invalid") from error
    if not numbers_fit:
        raise ValidationError("This has a number with more digits than PostgreSQL can store.", code="invalid")


def _check_text(text: str) -> None:
    if "\0" in text:
        raise ValidationError("Null characters are not allowed.", code="null_characters_not_allowed")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValidationError("Half a character (a lone surrogate) cannot be stored.", code="surrogates_not_allowed")


def _long_numbers(value: object) -> Iterator[str]:
    """Yield every number in ``value`` that may have too many digits. A float never has."""
    if isinstance(value, ExactNumber):
        yield value.text
    elif isinstance(value, int) and value.bit_length() > MOST_DIGITS:
        yield digits_of(value)
    elif isinstance(value, Decimal):
        yield str(value)
    elif isinstance(value, dict):
        for element in value.values():
            yield from _long_numbers(element)
    elif isinstance(value, (list, tuple)):
        for element in value:
            yield from _long_numbers(element)


def _texts(value: object) -> Iterator[str]:
    """Yield every string in ``value``, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, element in value.items():
            yield from _texts(key)
            yield from _texts(element)
    elif isinstance(value, (list, tuple)):
        for element in value:
            yield from _texts(element)
