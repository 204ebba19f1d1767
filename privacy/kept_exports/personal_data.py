"""Personal data of exports that wait for their download: table ``exports``, and their files."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Now

from findme.core.db.expressions import IsAmong
from findme.core.postgresql.arrays import uuid_array
from privacy.declarations import Category, Disposition, Export, Link, LinkKind, PersonalData, Retention, TableDeclaration
from privacy.json_schemas import Schema, array_of, row_of
from privacy.kept_exports.removal import remove_exports_of
from privacy.models import KeptExport
from privacy.purposes import REQUESTS
from privacy.registry import Effect, PersonalDataOwner, registry

EXPORTS = "exports, with the files that wait for their download"
RETENTION = timedelta(days=30)
KEPT_EXPORT = Retention("the export was made", RETENTION)


class KeptExports(PersonalDataOwner):
    """Owns the exports that wait for their download. Their rows have ids and times, and their files all data of the user, encrypted."""

    section = "exports"
    is_last = True
    erasure_steps = {EXPORTS: "exports"}
    tables = {
        "privacy.KeptExport": TableDeclaration(
            links=(Link("user_id", LinkKind.ID), Link("made_by_id", LinkKind.ID, erase=Disposition.KEPT)),
            data=(
                PersonalData(
                    fields=("id", "request_id", "created_at", "expires_at", "downloaded_at", "deleted_at", "size"),
                    category=Category.PRIVACY_RECORDS,
                    purpose=REQUESTS,
                    retention=KEPT_EXPORT,
                    anonymize=Disposition.DELETED,
                ),
                PersonalData(
                    fields=("user_id", "made_by_id", "made_by_account", "sha256", "token_sha256"),
                    category=Category.PRIVACY_RECORDS,
                    purpose=REQUESTS,
                    retention=KEPT_EXPORT,
                    export=Export.NEVER,
                    reason="the profile has the same id, the operator is another person, and the digests protect the file",
                    anonymize=Disposition.DELETED,
                ),
            ),
        ),
    }

    def export(self, user_id: UUID) -> Iterator[dict[str, Any]]:
        columns = ("id", "request_id", "created_at", "expires_at", "downloaded_at", "deleted_at", "size")
        yield from KeptExport.objects.filter(user_id=user_id).order_by("created_at", "pk").values(*columns).iterator()

    def export_schema(self) -> Schema:
        return array_of(row_of(self.tables, "privacy.KeptExport"))

    def anonymize(self, user_id: UUID) -> None:
        remove_exports_of(user_id)

    def erase(self, user_id: UUID) -> None:
        remove_exports_of(user_id)

    def erase_many(self, user_ids: Collection[UUID]) -> None:
        with_exports = (
            KeptExport.objects.filter(IsAmong("user_id", uuid_array(user_ids))).order_by().values_list("user_id", flat=True).distinct()
        )
        for user_id in list(with_exports):
            remove_exports_of(user_id)

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        count = KeptExport.objects.filter(user_id=user_id).count()
        return [Effect(EXPORTS, count, Disposition.DELETED)] if count else []

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return self.after_anonymization(user_id)

    def count_expired(self) -> int:
        return _expired().count()

    def delete_expired(self) -> int:
        return _expired().delete()[0]


def _expired() -> QuerySet[KeptExport]:
    """Return the rows after their retention. A row whose file is not deleted yet stays."""
    return KeptExport.objects.filter(created_at__lt=Now() - RETENTION, deleted_at__isnull=False)


registry.register(KeptExports())
