from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from django.apps import apps
from django.core.management.base import CommandError
from django.core.management.commands import dumpdata
from django.db.models import Model

from findme.core.commands.arguments import require_label
from findme.core.commands.base import NOT_DONE
from findme.core.dumps.local_rows import local_models, reason_not_to_copy
from findme.core.errors import UserFacingError
from findme.core.files import atomic_write, require_writable, unnamed_file

COMPRESSED: dict[str, Callable[[IO[bytes]], Any]] = {
    ".gz": partial(gzip.open, mode="wb"),
    ".bz2": partial(bz2.open, mode="wb"),
    ".xz": partial(lzma.open, mode="wb"),
    ".lzma": partial(lzma.open, mode="wb", format=lzma.FORMAT_ALONE),
}


class Command(dumpdata.Command):
    help = "Django's dumpdata without the rows that belong to this database only. Permissions and content types are written by their names."

    def handle(self, *app_labels: str, **options: Any) -> None:
        for label in app_labels:
            _reject_local_model(label)
        for label in options["exclude"]:
            require_label(label)
        omitted = [model for model in local_models() if not app_labels or model._meta.app_label in app_labels]
        exclude = [*options["exclude"], *(model._meta.label_lower for model in omitted)]
        with _complete_file(options["output"]) as output:
            super().handle(*app_labels, **options | {"exclude": exclude, "use_natural_foreign_keys": True, "output": output})
        if omitted and options["verbosity"] > 0:
            self.stderr.write(f"Left out because they belong to this database: {', '.join(model._meta.label_lower for model in omitted)}.")


@contextmanager
def _complete_file(output: str | None) -> Iterator[str | None]:
    """Yield a path for Django's output.

    The file ``output``, mode 0600, appears when the block ends without an error.
    Raises UserFacingError for a link, a file of another account, and ``.zip``, which Django cannot write.
    """
    if output is None:
        yield None
        return
    path = Path(output)
    if path.suffix == ".zip":
        raise UserFacingError(
            f"{output!r} is a zip file, which dumpdata cannot write: nothing was written. Name a file that ends in .json, .gz, .bz2, .xz or .lzma."
        )
    require_writable(path, force=True)
    compressed = COMPRESSED.get(path.suffix)
    if compressed is None:
        with atomic_write(path, force=True) as file:
            yield f"/dev/fd/{file.fileno()}"
        return
    with unnamed_file(path.parent) as plain:
        yield f"/dev/fd/{plain.fileno()}"
        plain.seek(0)
        with atomic_write(path, force=True) as file, compressed(file) as packed:
            shutil.copyfileobj(plain, packed)


def _reject_local_model(label: str) -> None:
    model = _model_named(label)
    reason = reason_not_to_copy(model) if model is not None else None
    if model is not None and reason is not None:
        raise CommandError(
            f"{model._meta.label_lower} is never copied to another database: {reason}. Nothing was written. Leave it out.",
            returncode=NOT_DONE,
        )


def _model_named(label: str) -> type[Model] | None:
    """Return the model, or None for an app or for a name that Django will reject."""
    try:
        return apps.get_model(label)
    except (LookupError, ValueError):
        return None
