"""The permissions that something here asks for: no more are offered to be given."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import or_

from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db.models import Q, QuerySet


def asked_for() -> QuerySet[Permission]:
    """Those of the registered models that their admin names in ``asks_for``, and those that the models declare themselves."""
    wanted = (Q(content_type__app_label=label, content_type__model=name, codename=codename) for label, name, codename in _codenames())
    return Permission.objects.filter(reduce(or_, wanted)).select_related("content_type")


def _codenames() -> Iterator[tuple[str, str, str]]:
    for model, model_admin in admin.site._registry.items():
        label, name = model._meta.app_label, str(model._meta.model_name)
        for verb in getattr(model_admin, "asks_for", ()):
            yield label, name, f"{verb}_{name}"
        for codename, _sentence in model._meta.permissions:
            yield label, name, codename
