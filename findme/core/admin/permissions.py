"""The permissions that can be granted: those that this project checks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import or_

from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db.models import Q, QuerySet


def grantable_permissions() -> QuerySet[Permission]:
    """Return the permissions that registered admins declare or that their models have in ``Meta``.

    An admin declares them in ``declared_permissions``, a model in ``Meta.permissions``.
    """
    wanted = (Q(content_type__app_label=label, content_type__model=name, codename=codename) for label, name, codename in _codenames())
    return Permission.objects.filter(reduce(or_, wanted)).select_related("content_type")


def _codenames() -> Iterator[tuple[str, str, str]]:
    for model, model_admin in admin.site._registry.items():
        label, name = model._meta.app_label, str(model._meta.model_name)
        for verb in getattr(model_admin, "declared_permissions", ()):
            yield label, name, f"{verb}_{name}"
        for codename, _sentence in model._meta.permissions:
            yield label, name, codename
