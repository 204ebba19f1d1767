"""What a restored database must end before it serves: it remembers a world that is gone, such as workers, sessions and links.

Each model says in ``after_restore`` what happens to its rows: ``KEPT``, or the label of the function that ends or changes them. Apps register their
functions in ``ready``. A system check (``findme.E003``) finds a model without a decision.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import cast

from django.apps import apps
from django.db import transaction
from django.db.models import Model

KEPT = "kept"
"""The rows are data, or evidence, that a restore brings back."""

COUNTED_FAILURES, SESSIONS, STAFF = "failed logins", "sessions", "staff accounts"
"""Labels of functions of ``accounts`` that change tables of other apps."""

BACKUPS, SEARCHES = "backups", "searches"
"""Labels of functions that ask for another command: ``list_backups`` and ``replay_erasures``."""

DECISIONS_OF_OTHERS = {
    "admin.logentry": KEPT,
    "auth.group": STAFF,
    "auth.permission": KEPT,
    "axes.accessattempt": COUNTED_FAILURES,
    "axes.accessattemptexpiration": COUNTED_FAILURES,
    "axes.accessfailurelog": KEPT,
    "axes.accesslog": KEPT,
    "contenttypes.contenttype": KEPT,
    "sessions.session": SESSIONS,
}
"""Decisions for models of Django and django-axes. A model of this project has its own in the attribute ``after_restore``."""

End = Callable[[], str]

_functions: dict[str, End] = {}


def register(label: str, function: End) -> None:
    """Register the function that ends what ``label`` names. It returns a sentence about what it did, or an empty string."""
    _functions[label] = function


def end_everything(*, unsaid: Collection[str] = ()) -> list[str]:
    """Run all registered functions in one transaction, and return their sentences. A second run finds nothing to end.

    The functions with the labels ``unsaid`` run too, and their sentences are left out: the caller does itself what they ask for.
    """
    with transaction.atomic():
        said = {label: function() for label, function in _functions.items()}
    return [sentence for label, sentence in said.items() if sentence and label not in unsaid]


def decision(model: type[Model]) -> str | None:
    """Return ``KEPT``, the label of the function that ends the rows of ``model``, or None. The table of a many-to-many field follows its model."""
    owner = cast("type[Model]", model._meta.auto_created or model)
    found: str | None = getattr(owner, "after_restore", None)
    return found or DECISIONS_OF_OTHERS.get(owner._meta.label_lower)


def undecided() -> Iterator[tuple[type[Model], str | None]]:
    """Yield each installed model without a decision, or with a label that no function has."""
    for model in apps.get_models(include_auto_created=True):
        found = decision(model)
        if found != KEPT and found not in _functions:
            yield model, found
