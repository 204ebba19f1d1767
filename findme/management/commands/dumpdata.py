from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError
from django.core.management.commands import dumpdata
from django.db.models import Model

from findme.console.command import NOT_DONE
from findme.files import require_writable
from findme.schema.local_rows import local_models, reason_not_to_copy


class Command(dumpdata.Command):
    help = (
        "Django's dumpdata, without the rows that belong to this database alone. Permissions and content types are written by their names."
    )

    def handle(self, *app_labels: str, **options: Any) -> None:
        for label in app_labels:
            _refuse_local(label)
        left_out = [model for model in local_models() if not app_labels or model._meta.app_label in app_labels]
        if left_out and options["verbosity"] > 0:
            self.stderr.write(
                f"Left out, because they belong to this database: {', '.join(model._meta.label_lower for model in left_out)}."
            )
        exclude = [*options["exclude"], *(model._meta.label_lower for model in left_out)]
        with _private(options["output"]):
            super().handle(*app_labels, **options | {"exclude": exclude, "use_natural_foreign_keys": True})


@contextmanager
def _private(output: str | None) -> Iterator[None]:
    """Have the file that Django opens be readable for its owner only. Raises NotDone for a link and for a file of another account."""
    if output is None:
        yield
        return
    path = Path(output)
    require_writable(path, force=True)
    if path.exists():
        path.chmod(0o600)
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _refuse_local(label: str) -> None:
    model = _model_named(label)
    reason = reason_not_to_copy(model) if model is not None else None
    if model is not None and reason is not None:
        raise CommandError(
            f"{model._meta.label_lower} is never copied to another database: {reason}. Nothing was written; leave it out.",
            returncode=NOT_DONE,
        )


def _model_named(label: str) -> type[Model] | None:
    """Return the model, or None for an app, and for a name that Django refuses itself."""
    try:
        return apps.get_model(label)
    except (LookupError, ValueError):
        return None
