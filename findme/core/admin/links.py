"""Links between the pages of the admin.

They use URL names and model labels, so an app can link to a higher layer without importing it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

from django.apps import apps
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from findme.core.admin.pagination import COUNTED, bounded_count
from findme.core.admin.uuid_search import refers_to


def can_view(request: HttpRequest, model: type[Model]) -> bool:
    """Return whether the user of the request may view the pages of ``model``."""
    label, name = model._meta.app_label, model._meta.model_name
    return request.user.has_perm(f"{label}.view_{name}") or request.user.has_perm(f"{label}.change_{name}")


def change_page_url(model: type[Model], key: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[key])


def link_to(model: type[Model], key: Any, text: object) -> SafeString:
    return format_html('<a href="{}" class="text-link">{}</a>', change_page_url(model, key), text)


@dataclass(frozen=True, slots=True)
class Related:
    """A link from the page of a row to the list of rows that refer to it.

    ``model`` is the label of the model of that list. ``lookups`` are its fields that can refer to the row.
    """

    title: str
    model: str
    lookups: tuple[str, ...]

    def shown(self, request: HttpRequest, row: Model) -> dict[str, Any] | None:
        """Return title, URL and count for the template, or None if the user may not view that list."""
        model = apps.get_model(self.model)
        if not can_view(request, model):
            return None
        count = bounded_count(model._default_manager.filter(refers_to(row.pk, self.lookups)))
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        return {"title": self.title, "url": f"{url}?{urlencode({'q': row.pk})}", "count": min(count, COUNTED), "has_more": count > COUNTED}


C = TypeVar("C", bound=Callable[..., Any])


def labeled(description: str, colors: dict[str, str]) -> Callable[[C], C]:
    """Return a decorator for a column that returns a key of ``colors``, or a pair of key and text."""
    return cast("Callable[[C], C]", display(description=description, label=colors))
