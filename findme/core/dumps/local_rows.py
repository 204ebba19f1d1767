"""Tables whose rows belong to one database: no fixture carries them to another one, and ``flush`` keeps some of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.apps import apps
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

_MADE_BY_MIGRATE = "migrate makes these rows, with other ids in each database"

_A_LOGIN = "it records log-ins at the site that made it"

_REASONS_OF_OTHERS = {
    "contenttypes.contenttype": _MADE_BY_MIGRATE,
    "auth.permission": _MADE_BY_MIGRATE,
    "axes.accessattempt": _A_LOGIN,
    "axes.accessattemptexpiration": _A_LOGIN,
    "axes.accessfailurelog": _A_LOGIN,
    "axes.accesslog": _A_LOGIN,
    "sessions.session": "a session is a login at the site that made it",
}
"""Models of Django and django-axes. A model of the project has the reason as its attribute ``not_copied``."""


def reason_not_to_copy(model: type[Model]) -> str | None:
    """Return why rows of ``model`` stay in the database that made them, or None if a fixture may carry them."""
    reason: str | None = getattr(model, "not_copied", None)
    return reason or _REASONS_OF_OTHERS.get(model._meta.label_lower)


def local_models() -> list[type[Model]]:
    """Return the models whose rows are never copied."""
    return [model for model in apps.get_models() if reason_not_to_copy(model) is not None]


@contextmanager
def kept_by_flush(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Leave the tables of models with ``kept_by_flush`` out of the statement that ``flush`` and ``sqlflush`` make.

    They say which database this is and what it still has to tell Qdrant. Without them its own collection looks like another database's.
    """
    kept = {model._meta.db_table for model in apps.get_models() if getattr(model, "kept_by_flush", False)}
    introspection, name = connection.introspection, "django_table_names"
    every_table = introspection.django_table_names
    setattr(introspection, name, lambda **options: [table for table in every_table(**options) if table not in kept])
    try:
        yield
    finally:
        delattr(introspection, name)
