from __future__ import annotations

import sys
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError
from django.core.management.commands import loaddata
from django.db import IntegrityError, transaction
from django.db.models import Field, Model

from findme.core.commands.arguments import require_label
from findme.core.commands.base import FINDINGS, NOT_DONE
from findme.core.db.violations import is_of_erased_user
from findme.core.dumps.local_rows import reason_not_to_copy
from findme.core.plurals import counted
from privacy.models import ErasedUser
from privacy.registry import registry
from privacy.requests.conditions import may_be_rectified


class Command(loaddata.Command):
    help = "Django's loaddata, which rejects rows that belong only to the dumped database, and skips data of anonymized, deleted or restricted users."

    def handle(self, *fixture_labels: Any, **options: Any) -> None:
        """Load the rows. Exit with 1 if data of erased or restricted users was skipped; all other rows are loaded."""
        for label in options["exclude"]:
            require_label(label)
        self.rejected: set[str] = set()
        self.unchanged: set[str] = set()
        self.protected = {label: rules.users for owner in registry.owners for label, rules in owner.protection.items()}
        self.restricted = _restricted_users(options["database"])
        super().handle(*fixture_labels, **options)
        for rows, whose in (
            (self.rejected, "of users who were anonymized or deleted for good"),
            (self.unchanged, "of users who were restricted before (article 18)"),
        ):
            if rows:
                self.stderr.write(f"Not loaded: {counted(len(rows), 'row')} {whose}, {min(rows)} among them. Everything else was loaded.")
        if self.rejected or self.unchanged:
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
        if self._is_of_restricted_user(obj.object):
            self.unchanged.add(_name_of(obj.object))
            return False
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
        self.rejected.add(_name_of(row))
        return False

    def _is_of_restricted_user(self, row: Model) -> bool:
        """Return whether the row is of a user who was restricted before this load. A copy into a new database has restricted users too."""
        fields = [row._meta.get_field(name) for name in self.protected.get(row._meta.label, ())]
        return any(getattr(row, field.attname) in self.restricted for field in fields if isinstance(field, Field))

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


def _name_of(row: Model) -> str:
    return f"{row._meta.label_lower} {row.pk}"


def _restricted_users(database: str) -> set[UUID]:
    """Return the restricted users whose data must not be changed: those without an approved request for a rectification."""
    users = get_user_model()._base_manager.using(database).filter(restricted_at__isnull=False)
    return {user_id for user_id in users.values_list("pk", flat=True) if not may_be_rectified(user_id)}
