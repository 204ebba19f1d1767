from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import loaddata

from findme.console.command import NOT_DONE
from findme.schema.local_rows import reason_not_to_copy


class Command(loaddata.Command):
    help = "Django's loaddata, which refuses rows that belong to the database that they were dumped from."

    def save_obj(self, obj: Any) -> bool:
        """Raises CommandError for such a row; the transaction of the command is rolled back. ``--exclude`` leaves these rows out."""
        model = type(obj.object)
        if (reason := reason_not_to_copy(model)) is not None and not self._is_excluded(model):
            raise CommandError(
                f"The file has rows of {model._meta.label_lower}, which are never copied to another database: {reason}. Nothing was changed; leave"
                f" them out with --exclude {model._meta.label_lower}.",
                returncode=NOT_DONE,
            )
        return bool(super().save_obj(obj))

    def _is_excluded(self, model: type[Any]) -> bool:
        return model in self.excluded_models or model._meta.app_config in self.excluded_apps
