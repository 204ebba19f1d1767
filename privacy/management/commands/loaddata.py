from __future__ import annotations

import sys
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError
from django.core.management.commands import loaddata
from django.db import IntegrityError, transaction
from django.db.models import Model

from findme.core.commands.arguments import require_label
from findme.core.commands.base import FINDINGS, NOT_DONE
from findme.core.db.violations import is_of_erased_user
from findme.core.dumps.local_rows import reason_not_to_copy
from findme.core.plurals import counted
from privacy.models import ErasedUser
from privacy.registry import registry


class Command(loaddata.Command):
    help = "Django's loaddata, which rejects rows that belong only to the dumped database, and skips data of anonymized or deleted users."

    def handle(self, *fixture_labels: Any, **options: Any) -> None:
        """Load the rows. Exit with 1 if data of erased users was skipped; all other rows are loaded."""
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
        """Save a row, skip data of erased users, and raise CommandError for a row that must not be copied.

        The error rolls back the transaction of the command. ``--exclude`` skips such rows.
        """
        model = type(obj.object)
        if (reason := reason_not_to_copy(model)) is not None and not self._is_excluded(model):
            raise CommandError(
                f"The file has rows of {model._meta.label_lower}, which must not be copied to another database: {reason}. Nothing was changed."
                f" Exclude them with --exclude {model._meta.label_lower}.",
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
        """Return whether a foreign key refers to a user who was deleted for good.

        Otherwise the whole file would fail at the end, when foreign keys are checked. Triggers reject the rows of protected models, so these cost no
        query.
        """
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
