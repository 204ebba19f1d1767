"""Personal data of accounts: table ``users``, and the rows of a user in Django's own tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import Group, Permission
from django.contrib.postgres.functions import TransactionNow
from django.contrib.sessions.models import Session
from django.db.models import F, Q, QuerySet, Value
from django.db.models.functions import Coalesce, Concat

import accounts.login.personal_data  # noqa: F401  # registers its owner first, which needs the address that Profile clears
from accounts.models import User
from findme.core.db.expressions import FirstDayOfYear
from privacy.declarations import Category, Disposition, Export, Link, LinkKind, PersonalData, Retention, TableDeclaration
from privacy.json_schemas import Schema, array_of, row_of
from privacy.purposes import ACCOUNT, ACCOUNTABILITY, ADMINISTRATION, MATCHING, SECURITY
from privacy.registry import Effect, PersonalDataOwner, Protection, columns_of, registry
from privacy.retention_rules import UserRule
from privacy.users import anonymized_email


def _inactive(before: datetime) -> QuerySet[User]:
    """Return users whose last login is known and old. A service that does not write ``last_login`` has no inactive users."""
    users: QuerySet[User] = User.objects.exclude(calls_made__created_at__gte=before).exclude(calls_received__created_at__gte=before)
    return users.filter(last_login__lt=before, updated_at__lt=before, created_at__lt=before)


def date_of_birth_disposition() -> Disposition:
    """Return what an anonymization does to the date of birth, by the setting ``ANONYMIZE_DATE_OF_BIRTH``."""
    return Disposition.REDUCED if settings.ANONYMIZE_DATE_OF_BIRTH == "year" else Disposition.KEPT


USERS = TableDeclaration(
    links=(Link("id", LinkKind.ID),),
    data=(
        PersonalData(fields=("email",), category=Category.CONTACT, purpose=ACCOUNT, anonymize=Disposition.CLEARED),
        PersonalData(
            fields=("full_name",),
            category=Category.IDENTITY,
            purpose=MATCHING,
            recipients=("other users",),
            anonymize=Disposition.CLEARED,
        ),
        PersonalData(
            fields=("date_of_birth",),
            category=Category.IDENTITY,
            purpose=MATCHING,
            recipients=("other users", "the operator of the vector store"),
            anonymize=date_of_birth_disposition(),
        ),
        PersonalData(
            fields=("gender",),
            category=Category.IDENTITY,
            purpose=MATCHING,
            recipients=("other users", "the operator of the vector store"),
            anonymize=Disposition.KEPT,
        ),
        PersonalData(
            fields=("bio",),
            category=Category.PROFILE,
            purpose=MATCHING,
            recipients=("other users",),
            anonymize=Disposition.CLEARED,
        ),
        PersonalData(
            fields=("id", "created_at", "updated_at", "deleted_at"),
            category=Category.IDENTITY,
            purpose=ACCOUNT,
            anonymize=Disposition.KEPT,
        ),
        PersonalData(
            fields=("video", "verified", "active"),
            category=Category.PROFILE,
            purpose=MATCHING,
            recipients=("the operator of the vector store",),
            anonymize=Disposition.KEPT,
        ),
        PersonalData(
            fields=("password",),
            category=Category.CREDENTIALS,
            purpose=SECURITY,
            export=Export.NEVER,
            reason="the hash is no use to the user, and helps an attacker to guess the password",
            anonymize=Disposition.CLEARED,
        ),
        PersonalData(fields=("last_login",), category=Category.LOGINS, purpose=SECURITY, anonymize=Disposition.CLEARED),
        PersonalData(
            fields=("restricted_at", "objected_at"),
            category=Category.PRIVACY_RECORDS,
            purpose=ACCOUNTABILITY,
            anonymize=Disposition.KEPT,
        ),
        PersonalData(fields=("is_staff", "unconfirmed_at"), category=Category.CREDENTIALS, purpose=ACCOUNT, anonymize=Disposition.KEPT),
        PersonalData(fields=("is_superuser",), category=Category.CREDENTIALS, purpose=ACCOUNT, anonymize=Disposition.CLEARED),
        PersonalData(fields=("groups", "user_permissions"), category=Category.CREDENTIALS, purpose=ACCOUNT, anonymize=Disposition.DELETED),
    ),
)
ADMIN_LOG = TableDeclaration(
    links=(Link("user"), Link("object_id", LinkKind.TEXT, erase=Disposition.KEPT)),
    data=(
        PersonalData(
            fields=("id", "action_time", "user", "content_type", "object_id", "object_repr", "action_flag", "change_message"),
            category=Category.STAFF_ACTIONS,
            purpose=ADMINISTRATION,
            retention=Retention("until the operator deletes the entry"),
            anonymize=Disposition.KEPT,
        ),
    ),
)
SESSIONS = TableDeclaration(
    links=(Link("session_data", LinkKind.CONTENT),),
    data=(
        PersonalData(
            fields=("expire_date",),
            category=Category.LOGINS,
            purpose=SECURITY,
            retention=Retention("until the session expires and clearsessions runs"),
            anonymize=Disposition.DELETED,
        ),
        PersonalData(
            fields=("session_key", "session_data"),
            category=Category.LOGINS,
            purpose=SECURITY,
            retention=Retention("until the session expires and clearsessions runs"),
            export=Export.NEVER,
            reason="anyone with the key could use the session",
            anonymize=Disposition.DELETED,
        ),
    ),
)

SESSION_NOUN, LOG_NOUN = "sessions", "admin log entries by the user"
RIGHTS = (User.groups.through, User.user_permissions.through)


class Profile(PersonalDataOwner):
    """Owns the user's row, groups, permissions and sessions, and the admin log entries by and about the user."""

    section = "profile"
    retention_rules = (
        UserRule(
            name="hidden_users",
            what="softly deleted users",
            since="the deletion",
            category=Category.IDENTITY,
            expired=lambda before: User.objects.filter(deleted_at__lt=before),
        ),
        UserRule(
            name="inactive_users",
            what="users",
            since="their last login, call and change of the profile",
            category=Category.IDENTITY,
            expired=_inactive,
            needs_rows_of=("calls",),
        ),
    )
    tables = {"accounts.User": USERS, "admin.LogEntry": ADMIN_LOG, "sessions.Session": SESSIONS}
    erasure_steps = {SESSION_NOUN: "sessions", LOG_NOUN: "admin_log"}

    protection = {
        "accounts.User": Protection(
            users=("id",),
            protected={
                "email": "=deleted_{id}@findme.ai",
                "full_name": "=Deleted User",
                "bio": "",
                "password": "",
                "deleted_at": "!",
                "last_login": "",
                "is_superuser": "=false",
            },
            kept=frozenset(
                {
                    "date_of_birth",
                    "gender",
                    "video",
                    "verified",
                    "active",
                    "created_at",
                    "updated_at",
                    "is_staff",
                    "restricted_at",
                    "objected_at",
                    "unconfirmed_at",
                    "groups",
                    "user_permissions",
                }
            ),
        )
    }

    def export(self, user_id: UUID) -> dict[str, Any]:
        return {
            **User.objects.values(*columns_of(User, without=frozenset({"password"}))).get(pk=user_id),
            "groups": list(Group.objects.filter(user=user_id).order_by("name").values_list("name", flat=True)),
            "user_permissions": [f"{permission.content_type.app_label}.{permission.codename}" for permission in _permissions(user_id)],
            "sessions": [{"expire_date": session.expire_date} for session in _sessions(user_id)],  # anyone could log in with the key
            "admin_log": list(_log_of(user_id)),
        }

    def export_schema(self) -> Schema:
        return row_of(
            self.tables,
            "accounts.User",
            sessions=array_of(row_of(self.tables, "sessions.Session")),
            admin_log=array_of(row_of(self.tables, "admin.LogEntry", content_type={"type": ["string", "null"]})),
        )

    def anonymize(self, user_id: UUID) -> None:
        """Run the guide's UPDATE, and also clear the last login and all permissions. ``deleted_at`` stays if it is set.

        Of the date of birth only the year stays, unless ``ANONYMIZE_DATE_OF_BIRTH`` is ``keep``.
        """
        User.objects.filter(pk=user_id).update(
            email=anonymized_email(user_id),
            full_name="Deleted User",
            bio=None,
            password="",  # no password matches an empty hash
            deleted_at=Coalesce(F("deleted_at"), TransactionNow()),
            last_login=None,
            is_superuser=False,
            date_of_birth=FirstDayOfYear("date_of_birth") if settings.ANONYMIZE_DATE_OF_BIRTH == "year" else F("date_of_birth"),
        )
        for rights in RIGHTS:
            rights._base_manager.filter(user_id=user_id).delete()
        _end_sessions(user_id)

    def erase(self, user_id: UUID) -> None:
        _end_sessions(user_id)

    def clear_kept_row(self, user_id: UUID) -> None:
        """Clear every column. The columns that need a value get the same one for all users."""
        self.anonymize(user_id)
        User.objects.filter(pk=user_id).update(
            date_of_birth=date(1900, 1, 1),
            gender=User.Gender.OTHER,
            video=None,
            verified=False,
            active=False,
            is_staff=False,
            unconfirmed_at=None,
            created_at=F("deleted_at"),
        )

    def erase_many(self, user_ids: Collection[UUID]) -> None:
        ids = set(map(str, user_ids))
        ended = [session.pk for session in Session.objects.iterator() if session.get_decoded().get(SESSION_KEY) in ids]
        Session.objects.filter(pk__in=ended).delete()

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        return [
            Effect("profiles (e-mail, name, bio, password, last login)", 1, Disposition.CLEARED),
            _date_of_birth(),
            Effect("profiles (gender, flags, times)", 1, Disposition.KEPT),
            *_rights_and_sessions(user_id),
            *_log_effects(user_id, by_them=Disposition.KEPT),
        ]

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return [
            Effect("profiles", 1, Disposition.DELETED),
            *_rights_and_sessions(user_id),
            *_log_effects(user_id, by_them=Disposition.DELETED),
        ]

    def after_soft_deletion(self, user_id: UUID) -> list[Effect]:
        _profile, *others = super().after_soft_deletion(user_id)
        return [Effect("profiles", 1, Disposition.HIDDEN), *others]


def _date_of_birth() -> Effect:
    disposition = date_of_birth_disposition()
    is_reduced = disposition is Disposition.REDUCED
    return Effect("profiles (date of birth, to 1 January of its year)" if is_reduced else "profiles (date of birth)", 1, disposition)


def _rights_and_sessions(user_id: UUID) -> Iterator[Effect]:
    return _non_empty(
        Effect("groups and permissions", _count_rights(user_id), Disposition.DELETED),
        Effect(SESSION_NOUN, _count_sessions(user_id), Disposition.DELETED),
    )


def _log_effects(user_id: UUID, *, by_them: Disposition) -> Iterator[Effect]:
    return _non_empty(
        Effect(LOG_NOUN, LogEntry.objects.filter(_by(user_id)).count(), by_them),
        Effect(
            "admin log entries about the user, by id",
            LogEntry.objects.filter(_about(user_id)).exclude(_by(user_id)).count(),
            Disposition.KEPT,
        ),
    )


def _non_empty(*effects: Effect) -> Iterator[Effect]:
    """Skip empty effects: only staff have these rows."""
    return (effect for effect in effects if effect.count)


def _permissions(user_id: UUID) -> QuerySet[Permission]:
    return Permission.objects.filter(user=user_id).select_related("content_type").order_by("content_type__app_label", "codename")


def _count_rights(user_id: UUID) -> int:
    return sum(rights._base_manager.filter(user_id=user_id).count() for rights in RIGHTS)


def _by(user_id: UUID) -> Q:
    return Q(user_id=user_id)


def _about(user_id: UUID) -> Q:
    return Q(content_type__app_label="accounts", content_type__model="user", object_id=str(user_id))


def _log_of(user_id: UUID) -> Iterator[dict[str, Any]]:
    """Return the admin log entries by and about the user, with ``content_type`` as ``app.model``."""
    kind = Concat("content_type__app_label", Value("."), "content_type__model")
    columns = columns_of(LogEntry, without=frozenset({"content_type"}))
    entries = LogEntry.objects.filter(_by(user_id) | _about(user_id)).order_by("pk").annotate(kind=kind).values("kind", *columns)
    return ({"content_type": entry.pop("kind"), **entry} for entry in entries.iterator())


def _sessions(user_id: UUID) -> Iterator[Session]:
    """Return the user's sessions.

    Only the signed contents name the user, so every session is decoded. Only users of the admin have sessions.
    """
    return (session for session in Session.objects.iterator() if session.get_decoded().get(SESSION_KEY) == str(user_id))


def _count_sessions(user_id: UUID) -> int:
    return sum(1 for _ in _sessions(user_id))


def _end_sessions(user_id: UUID) -> None:
    Session.objects.filter(pk__in=[session.pk for session in _sessions(user_id)]).delete()


registry.register(Profile())
