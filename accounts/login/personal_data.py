"""Personal data of logins: the tables of django-axes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any
from uuid import UUID

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.db.models import QuerySet

from accounts.login.attempts import digest_of, digests_of
from accounts.login.retention import RECORDS, RETENTION, count_old_records, delete_old_records
from accounts.models import User
from findme.core.db.expressions import IsAmong
from findme.core.postgresql.arrays import uuid_array
from privacy.declarations import Category, Disposition, Export, Link, LinkKind, PersonalData, Retention, TableDeclaration
from privacy.json_schemas import Schema, array_of, object_of, row_of
from privacy.purposes import SECURITY
from privacy.registry import Effect, PersonalDataOwner, registry

NOUN = "records of logins"


def _table(*, exported: tuple[str, ...], empty: tuple[str, ...]) -> TableDeclaration:
    """Return the declaration of a table of django-axes. This project leaves the columns ``empty`` without values, and those of browsers too."""
    return TableDeclaration(
        links=(Link("username", LinkKind.TEXT),),
        data=(
            PersonalData(
                fields=("attempt_time", "ip_address", *exported),
                category=Category.LOGINS,
                purpose=SECURITY,
                retention=Retention("the login", RETENTION),
                anonymize=Disposition.DELETED,
            ),
            PersonalData(
                fields=("id", "username", "user_agent", "http_accept", "path_info", *empty),
                category=Category.LOGINS,
                purpose=SECURITY,
                retention=Retention("the login", RETENTION),
                export=Export.NEVER,
                reason="the name is the user's id or a digest, and the other columns are empty",
                anonymize=Disposition.DELETED,
            ),
        ),
    )


class LogIns(PersonalDataOwner):
    """Owns the logins and failed logins of the last 30 days. ``username`` is the user's UUID, never the typed name.

    Failures from before the user had an account are stored under a digest of the address. They can be found while the address is known.
    """

    section = "log_ins"
    erasure_steps = {NOUN: "log_ins"}
    tables = {
        "axes.AccessAttempt": _table(exported=("failures_since_start",), empty=("get_data", "post_data")),
        "axes.AccessFailureLog": _table(exported=("locked_out",), empty=()),
        "axes.AccessLog": _table(exported=(), empty=("logout_time", "session_hash")),
    }

    def export(self, user_id: UUID) -> dict[str, Any]:
        keys = keys_of(user_id)
        return {
            "log_ins": list(_of(AccessLog, keys).values("attempt_time", "ip_address")),
            "failures": list(_of(AccessFailureLog, keys).values("attempt_time", "ip_address", "locked_out")),
            "counted": list(_of(AccessAttempt, keys).values("attempt_time", "ip_address", "failures_since_start")),
        }

    def export_schema(self) -> Schema:
        labels = {"log_ins": "axes.AccessLog", "failures": "axes.AccessFailureLog", "counted": "axes.AccessAttempt"}
        return object_of({name: array_of(row_of(self.tables, label)) for name, label in labels.items()})

    def anonymize(self, user_id: UUID) -> None:
        keys = keys_of(user_id)
        for model in RECORDS:
            _of(model, keys).delete()

    def erase(self, user_id: UUID) -> None:
        self.anonymize(user_id)

    def erase_many(self, user_ids: Collection[UUID]) -> None:
        emails = User.objects.filter(IsAmong("pk", uuid_array(user_ids))).values_list("email", flat=True)
        keys = ",".join([*map(str, user_ids), *digests_of(emails)])  # UUIDs and hexadecimal digests
        for model in RECORDS:
            model.objects.filter(IsAmong("username", f"{{{keys}}}", "varchar")).delete()

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        return list(_records(user_id))

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return list(_records(user_id))

    def count_expired(self) -> int:
        return count_old_records()

    def delete_expired(self) -> int:
        return delete_old_records()


def _records(user_id: UUID) -> Iterator[Effect]:
    keys = keys_of(user_id)
    if count := sum(_of(model, keys).count() for model in RECORDS):
        yield Effect(NOUN, count, Disposition.DELETED)


def _of(model: Any, keys: list[str]) -> QuerySet[Any]:
    found: QuerySet[Any] = model.objects.filter(username__in=keys).order_by("pk")
    return found


def keys_of(user_id: UUID) -> list[str]:
    """Return the user's keys in the tables: the UUID, and the digest of the e-mail address."""
    email = User.objects.filter(pk=user_id).values_list("email", flat=True).first()
    return [str(user_id), *([digest_of(email)] if email is not None else [])]


registry.register(LogIns())
