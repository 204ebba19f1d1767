"""Links between the admin's pages, by the names of their URLs: an app may point at one above it without importing it."""

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


def may_see(request: HttpRequest, model: type[Model]) -> bool:
    """Whether the one who asks may look at MODEL's pages."""
    label, name = model._meta.app_label, model._meta.model_name
    return request.user.has_perm(f"{label}.view_{name}") or request.user.has_perm(f"{label}.change_{name}")


def page_of(model: type[Model], key: Any) -> str:
    """The URL of one row's page."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[key])


def link_to(model: type[Model], key: Any, text: object) -> SafeString:
    return format_html('<a href="{}" class="text-link">{}</a>', page_of(model, key), text)


@dataclass(frozen=True, slots=True)
class Related:
    """A link from a row's page to the list of the rows of MODEL (a label) that refer to it by one of LOOKUPS."""

    title: str
    model: str
    lookups: tuple[str, ...]

    def shown(self, request: HttpRequest, row: Model) -> dict[str, Any] | None:
        """Title, URL and count for the template; None for somebody who may not see that list."""
        model = apps.get_model(self.model)
        if not may_see(request, model):
            return None
        count = bounded_count(model._default_manager.filter(refers_to(row.pk, self.lookups)))
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        return {"title": self.title, "url": f"{url}?{urlencode({'q': row.pk})}", "count": min(count, COUNTED), "has_more": count > COUNTED}


C = TypeVar("C", bound=Callable[..., Any])


def labeled(description: str, colors: dict[str, str]) -> Callable[[C], C]:
    """For a column that gives a key of COLORS, or a pair of a key and the text to show."""
    return cast("Callable[[C], C]", display(description=description, label=colors))
