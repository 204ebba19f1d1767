from __future__ import annotations

import sys
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError
from django.core.management.commands import loaddata
from django.db import IntegrityError, transaction
from django.db.models import Model

from findme.core.commands.base import FINDINGS, NOT_DONE
from findme.core.commands.labels import require_label
from findme.core.db.violations import is_of_erased_user
from findme.core.dumps.local_rows import reason_not_to_copy
from findme.core.plurals import counted
from privacy.models import ErasedUser
from privacy.registry import registry


class Command(loaddata.Command):
    help = (
        "Django's loaddata, which refuses rows that belong to the database that they were dumped from, and leaves out data of users who were"
        " anonymized or deleted for good."
    )

    def handle(self, *fixture_labels: Any, **options: Any) -> None:
        """Exits with 1 where data of erased users were left out; the others are loaded."""
        for label in options["exclude"]:
            require_label(label)
        self.rejected: set[str] = set()
        self.protected = {label for owner in registry.owners for label in owner.protection}
        super().handle(*fixture_labels, **options)
        if self.rejected:
            self.stderr.write(
                f"Not loaded: {counted(len(self.rejected), 'row')} of users who were anonymized or deleted for good, {min(self.rejected)} among them."
                " Everything else was loaded."
            )
            sys.exit(FINDINGS)

    def save_obj(self, obj: Any) -> bool:
        """Raises CommandError for such a row; the transaction of the command is rolled back. ``--exclude`` leaves these rows out."""
        model = type(obj.object)
        if (reason := reason_not_to_copy(model)) is not None and not self._is_excluded(model):
            raise CommandError(
                f"The file has rows of {model._meta.label_lower}, which are never copied to another database: {reason}. Nothing was changed; leave"
                f" them out with --exclude {model._meta.label_lower}.",
                returncode=NOT_DONE,
            )
        if self._refers_to_a_deleted_user(obj.object):
            return self._reject(obj.object)
        try:
            with transaction.atomic(using=self.using):
                return bool(super().save_obj(obj))
        except IntegrityError as error:
            if not is_of_erased_user(error):
                raise
            return self._reject(obj.object)

    def _reject(self, row: Model) -> bool:
        self.rejected.add(f"{row._meta.label_lower} {row.pk}")
        return False

    def _refers_to_a_deleted_user(self, row: Model) -> bool:
        """Whether a foreign key names a user who was deleted for good. Without this the whole file would fail in the end, as foreign keys are checked
        then. Triggers refuse the rows of the protected models, so these cost no query."""
        if row._meta.label in self.protected:
            return False
        user_ids = [
            getattr(row, field.attname)
            for field in row._meta.concrete_fields
            if field.is_relation and field.related_model is get_user_model()
        ]
        return bool(user_ids) and ErasedUser.objects.using(self.using).filter(pk__in=user_ids, deleted=True).exists()

    def _is_excluded(self, model: type[Any]) -> bool:
        return model in self.excluded_models or model._meta.app_config in self.excluded_apps
