"""Create a user with rows in every table. The rows contain words that a test can search for afterwards."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType

from accounts.models import User
from tests.factories import MatchFactory, ProfileEmbeddingFactory, UserFactory, VideoCallFactory, VideoFactory
from vectorstore.models import ImportDigest

ENTRIES = {
    "log_ins.json": 1,
    "profile.json": 1,
    "videos.json": 2,
    "matches.json": 2,
    "calls.json": 2,
    "vector_sync.json": 1,
    "vector_import.json": 1,
    "erasure.json": 1,
    "requests.json": 0,
    "exports.json": 0,
    "audit_log.json": 0,
    "ledger.json": 0,
    "files.json": 3,
}
"""Files of an export of ``full_life``, with the number of entries in each."""
EMAIL = "Wilhelmina.Quux@example.org"
FULL_NAME = "Wilhelmina Quux"
BIO = "Plays the theremin at midnight"
WORDS = (EMAIL, EMAIL.lower(), FULL_NAME, "Wilhelmina", "wilhelmina", "Quux", "quux", BIO, "theremin")
"""Words that must not be anywhere after an anonymization."""


def full_life(**fields: Any) -> User:
    """Return a user with two videos (one deleted), a match on either side, a call of each match, and an imported embedding."""
    person = UserFactory.create(**{"email": EMAIL, "full_name": FULL_NAME, "bio": BIO, "verified": True} | fields)
    video = VideoFactory.create(
        user=person,
        storage_url="https://videos.example/wilhelmina-quux.mp4",
        thumbnail_url="https://videos.example/wilhelmina-quux.jpg",
        rejection_reason="Quux is out of the picture",
        metadata={"uploaded_by": EMAIL},
    )
    VideoFactory.create(user=person, thumbnail_url=None, deleted_at=datetime(2025, 1, 1, tzinfo=UTC))
    User.objects.filter(pk=person.pk).update(video=video, last_login=datetime(2025, 2, 3, 4, 5, 6, 789012, UTC))
    for match in (MatchFactory.create(user=person), MatchFactory.create(matched_user=person)):
        VideoCallFactory.create(
            match=match,
            caller=match.user,
            callee=match.matched_user,
            recording_url="https://calls.example/quux.webm",
            session_id=f"quux-{match.pk}",
            metadata={"names": [FULL_NAME], "invited": EMAIL.lower()},
        )
    ProfileEmbeddingFactory.create(user=person, interests=["theremin"])
    ImportDigest.objects.create(user=person, import_id=1, point=2, stored=3)
    person.refresh_from_db()
    return person


def working_life(person: User) -> None:
    """Make ``person`` a staff member with a group, a permission, a session, and admin log entries by and about them."""
    colleague = UserFactory.create(superuser=True)  # otherwise ``person`` would be the last superuser
    User.objects.filter(pk=person.pk).update(is_staff=True, is_superuser=True)
    person.groups.add(Group.objects.create(name="Privacy officers"))
    person.user_permissions.add(Permission.objects.get(codename="export_personal_data"))
    log_change(by=person, about=colleague)
    log_change(by=colleague, about=person)
    open_session(person)
    open_session(colleague)
    person.refresh_from_db()


def log_change(*, by: User, about: User) -> None:
    """Log a change as the admin does."""
    kind = ContentType.objects.get_for_model(User)
    LogEntry.objects.create(
        user=by,
        content_type=kind,
        object_id=str(about.pk),
        object_repr=str(about),
        action_flag=CHANGE,
        change_message='[{"changed": {"fields": ["Full name", "Bio"]}}]',
    )


def open_session(person: User) -> str:
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY], session[BACKEND_SESSION_KEY] = str(person.pk), settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = person.get_session_auth_hash()
    session.create()
    return str(session.session_key)
