"""Check the filters in the URL of a list: the user must see their fields on an admin page.

Without this check, a filter reveals fields that no page shows: ``?vector__511__gt=0.1`` finds a number of a vector by bisection.
"""

from __future__ import annotations

from typing import Any

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Field, JSONField
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest

EQUALITY = frozenset({"exact", "in", "isnull"})
COMPARISONS = EQUALITY | {"iexact", "gt", "gte", "lt", "lte", "contains", "icontains", "startswith", "istartswith", "endswith", "iendswith"}
PARTS_OF_DATES = frozenset({"date", "year", "month", "day"})
NEVER = (ArrayField, JSONField)
"""Fields without filters, for example vectors: a filter could compare one element, which no page shows."""


def is_lookup_allowed(model_admin: Any, request: HttpRequest, lookup: str) -> bool:
    """Return whether the URL of the list may have the parameter ``lookup``."""
    if lookup in _own_parameters(model_admin, request):
        return True
    name, *rest = lookup.split(LOOKUP_SEP)
    field = _field(model_admin.model, name)
    return field is not None and _is_comparison(field, rest) and field in shown_fields(model_admin, request)


def shown_fields(model_admin: Any, request: HttpRequest) -> set[Field[Any, Any]]:
    """Return the fields that the user of ``request`` sees on the list or on the page of a row."""
    # Pass a row, because the page of a new row has fewer fields.
    row = model_admin.model()
    names = [*model_admin.get_list_display(request), *flatten_fieldsets(model_admin.get_fieldsets(request, row))]
    return {field for name in names if isinstance(name, str) and (field := _field(model_admin.model, name)) is not None}


def _own_parameters(model_admin: Any, request: HttpRequest) -> set[str]:
    """Return the parameters of filters that do not stand for a field. Such a filter has its own choices."""
    filters = model_admin.get_list_filter(request)
    return {str(one.parameter_name) for one in filters if isinstance(one, type) and issubclass(one, SimpleListFilter)}


def _field(model: Any, name: str) -> Field[Any, Any] | None:
    """Return the model's column or many-to-many field with this name, also for ``pk`` and ``user_id``."""
    if name == "pk":
        key: Field[Any, Any] | None = model._meta.pk
        return key
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
    return field if isinstance(field, Field) else None


def _is_comparison(field: Field[Any, Any], rest: list[str]) -> bool:
    """Return whether a lookup only compares the field, or the key of the related row.

    ``rest`` are the parts of the lookup after the name of the field.
    """
    comparisons = COMPARISONS
    if isinstance(field, NEVER):
        return False
    if field.is_relation:
        comparisons = EQUALITY
        related: Any = field.related_model
        rest = rest[1:] if rest and _field(related, rest[0]) == related._meta.pk else rest
    elif rest and rest[0] in PARTS_OF_DATES:
        rest = rest[1:]
    return not rest or (len(rest) == 1 and rest[0] in comparisons)
