"""The personal data of the accounts: table ``users``, and what Django's own tables hold of a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import Group, Permission
from django.contrib.postgres.functions import TransactionNow
from django.contrib.sessions.models import Session
from django.db.models import F, Q, QuerySet, Value
from django.db.models.functions import Coalesce, Concat

import accounts.login.personal_data  # noqa: F401  # registers its owner, which needs the address that Profile clears
from accounts.models import User
from privacy.people import anonymized_email
from privacy.registry import Disposition, Effect, PersonalDataOwner, Protection, columns_of, registry

RIGHTS = (User.groups.through, User.user_permissions.through)


class Profile(PersonalDataOwner):
    """Owns the person's row, groups and permissions, their sessions, and the entries of the admin's log by them and about them."""

    section = "profile"
    fields = {
        "accounts.User": frozenset(
            {
                *("id", "email", "password", "full_name", "date_of_birth", "gender", "bio", "video", "verified", "active"),
                *("created_at", "updated_at", "deleted_at", "last_login", "is_staff", "is_superuser", "groups", "user_permissions"),
            }
        ),
        "admin.LogEntry": frozenset(
            {"id", "action_time", "user", "content_type", "object_id", "object_repr", "action_flag", "change_message"}
        ),
        "sessions.Session": frozenset({"session_key", "session_data", "expire_date"}),
    }

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
            "sessions": [{"expire_date": session.expire_date} for session in _sessions(user_id)],  # the key would let anybody in
            "admin_log": list(_log_of(user_id)),
        }

    def anonymize(self, user_id: UUID) -> None:
        """The guide's UPDATE, where ``deleted_at`` stays what it is if it is set; beside it the last login and every right."""
        User.objects.filter(pk=user_id).update(
            email=anonymized_email(user_id),
            full_name="Deleted User",
            bio=None,
            password="",  # no hash: nothing verifies against it
            deleted_at=Coalesce(F("deleted_at"), TransactionNow()),
            last_login=None,
            is_superuser=False,
        )
        for rights in RIGHTS:
            rights._base_manager.filter(user_id=user_id).delete()
        _end_sessions(user_id)

    def erase(self, user_id: UUID) -> None:
        _end_sessions(user_id)

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        return [
            Effect("profiles (e-mail, name, bio, password, last login)", 1, Disposition.CLEARED),
            Effect("profiles (date of birth, gender, flags, times)", 1, Disposition.KEPT),
            *_rights_and_sessions(user_id),
            *_log_lines(user_id, by_them=Disposition.KEPT),
        ]

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return [
            Effect("profiles", 1, Disposition.DELETED),
            *_rights_and_sessions(user_id),
            *_log_lines(user_id, by_them=Disposition.DELETED),
        ]

    def after_soft_deletion(self, user_id: UUID) -> list[Effect]:
        _profile, *others = super().after_soft_deletion(user_id)
        return [Effect("profiles", 1, Disposition.HIDDEN), *others]


def _rights_and_sessions(user_id: UUID) -> Iterator[Effect]:
    return _where_any(
        Effect("groups and permissions", _count_rights(user_id), Disposition.DELETED),
        Effect("sessions", _count_sessions(user_id), Disposition.DELETED),
    )


def _log_lines(user_id: UUID, *, by_them: Disposition) -> Iterator[Effect]:
    return _where_any(
        Effect("entries of the admin's log by them", LogEntry.objects.filter(_by(user_id)).count(), by_them),
        Effect(
            "entries of the admin's log about them, by their id",
            LogEntry.objects.filter(_about(user_id)).exclude(_by(user_id)).count(),
            Disposition.KEPT,
        ),
    )


def _where_any(*effects: Effect) -> Iterator[Effect]:
    """What only staff have is not spoken of to others."""
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
    """What the admin's log has by the person and about them; ``content_type`` as ``app.model``."""
    kind = Concat("content_type__app_label", Value("."), "content_type__model")
    columns = columns_of(LogEntry, without=frozenset({"content_type"}))
    entries = LogEntry.objects.filter(_by(user_id) | _about(user_id)).order_by("pk").annotate(kind=kind).values("kind", *columns)
    return ({"content_type": entry.pop("kind"), **entry} for entry in entries.iterator())


def _sessions(user_id: UUID) -> Iterator[Session]:
    """Whose a session is stands inside of its signed contents only, so every one is opened: the admin's users have some, members none."""
    return (session for session in Session.objects.iterator() if session.get_decoded().get(SESSION_KEY) == str(user_id))


def _count_sessions(user_id: UUID) -> int:
    return sum(1 for _ in _sessions(user_id))


def _end_sessions(user_id: UUID) -> None:
    Session.objects.filter(pk__in=[session.pk for session in _sessions(user_id)]).delete()


registry.register(Profile())
