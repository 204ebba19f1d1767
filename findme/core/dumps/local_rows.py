"""Tables whose rows belong to one database.

Fixtures never copy them to another database, and ``flush`` keeps some of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.apps import apps
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

_MADE_BY_MIGRATE = "migrate creates these rows with different ids in each database"

_A_LOGIN = "it records logins at the site that created it"

_REASONS_OF_OTHERS = {
    "contenttypes.contenttype": _MADE_BY_MIGRATE,
    "auth.permission": _MADE_BY_MIGRATE,
    "axes.accessattempt": _A_LOGIN,
    "axes.accessattemptexpiration": _A_LOGIN,
    "axes.accessfailurelog": _A_LOGIN,
    "axes.accesslog": _A_LOGIN,
    "sessions.session": "a session is a login at the site that created it",
}
"""Reasons for models of Django and django-axes. A model of this project has the reason in its attribute ``not_copied``."""


def reason_not_to_copy(model: type[Model]) -> str | None:
    """Return why rows of ``model`` belong to one database only, or None if a fixture may copy them."""
    reason: str | None = getattr(model, "not_copied", None)
    return reason or _REASONS_OF_OTHERS.get(model._meta.label_lower)


def local_models() -> list[type[Model]]:
    """Return the models whose rows are never copied."""
    return [model for model in apps.get_models() if reason_not_to_copy(model) is not None]


@contextmanager
def kept_by_flush(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Leave the tables of models with ``kept_by_flush`` out of the SQL of ``flush`` and ``sqlflush``.

    These tables identify the database and hold the changes that Qdrant has not received yet. Without them, the collection of this database looks
    like the collection of another database.
    """
    kept = {model._meta.db_table for model in apps.get_models() if getattr(model, "kept_by_flush", False)}
    introspection, name = connection.introspection, "django_table_names"
    every_table = introspection.django_table_names
    setattr(introspection, name, lambda **options: [table for table in every_table(**options) if table not in kept])
    try:
        yield
    finally:
        delattr(introspection, name)
