"""Convert values of form fields to plain JSON for comparison, and to text for messages."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from itertools import takewhile
from typing import Any

from django import forms
from django.db.models import Model

LONGEST = 1_000
"""Characters of a text that are kept. The rest of a longer text is compared by its digest."""
SHOWN = 60
"""Characters of a text that a message shows."""


def plain_value(field: forms.Field, value: Any) -> Any:
    """Return ``value`` as a bool, number, text or list.

    Values that look the same in a form become equal: NULL and empty, different line endings, and spaces at the start or end.
    """
    if isinstance(field, forms.ModelMultipleChoiceField):
        return sorted(str(row.pk) for row in value or ())
    if isinstance(value, Model):
        return str(value.pk)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(" ")
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict | list | tuple):
        value = json.dumps(value, sort_keys=True, default=str)
    return _bounded(str(value).replace("\r\n", "\n").strip())


def shown_value(field: forms.Field, value: Any) -> Any:
    """Return the part of a plain value that the form shows.

    Of a list, these are the rows that the field offers.
    """
    if isinstance(field, forms.ModelMultipleChoiceField) and value:
        assert field.queryset is not None  # a form's field has one
        return sorted(str(key) for key in field.queryset.filter(pk__in=value).order_by().values_list("pk", flat=True))
    return value


def _bounded(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters, SHA-256 {sha256(text.encode()).hexdigest()})"


def describe_change(field: forms.Field, was: Any, now: Any) -> str:
    """Return a text with the old and the new value of a field.

    ``was`` is None if the old value is not known.
    """
    if isinstance(field, forms.ModelMultipleChoiceField):
        changes = (("added", set(now) - set(was or ())), ("removed", set(was or ()) - set(now)))
        return ", ".join(f"{verb} {_names(field, keys)}" for verb, keys in changes if keys) or "not shown before"
    if was is None:
        return f"is {_in_words(field, now, '')}"
    return f"was {_in_words(field, was, now)}, is now {_in_words(field, now, was)}"


def _names(field: forms.ModelMultipleChoiceField[Any], keys: set[str]) -> str:
    """Return the names of the rows with these keys.

    Deleted rows are only counted, because the field does not offer them.
    """
    assert field.queryset is not None  # a form's field has one
    names = [f"“{field.label_from_instance(row)}”" for row in field.queryset.filter(pk__in=keys)]
    others = len(keys) - len(names)
    return ", ".join([*names, *([f"{others} that this page does not offer"] if others else [])])


def _in_words(field: forms.Field, value: Any, other: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value == "":
        return "empty"
    if isinstance(field, forms.ChoiceField) and not isinstance(field, forms.ModelChoiceField):
        value = dict(field.choices).get(value, value)  # type: ignore[arg-type]  # no groups of choices here
    return f"“{_excerpt(str(value), str(other))}”" if isinstance(value, str) else str(value)


def _excerpt(text: str, other: str) -> str:
    """Return the part of a long text where it starts to differ from ``other``."""
    if len(text) <= SHOWN:
        return text
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, other, strict=False)))
    start = max(0, same - 20)
    part = text[start : start + SHOWN]
    return f"{'…' if start else ''}{part}{'…' if start + SHOWN < len(text) else ''}"
