from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db import DatabaseError, connection

from accounts.models import User
from calls.models import VideoCall
from findme.core.errors import StoreUnavailable, UserFacingError
from matching.models import Match
from privacy.actions.erase import erase, preview_erasure, preview_soft_deletion, soft_delete
from privacy.actions.outcome import Outcome, PendingStore
from privacy.declarations import Disposition
from privacy.models import AuditEntry
from privacy.registry import Effect
from tests.factories import UserFactory
from tests.privacy.life import full_life, working_life
from tests.privacy.shelf import Shelf
from vectorstore.models import ProfileEmbedding
from videos.models import Video

pytestmark = pytest.mark.django_db

FILES = "video files in the storage that their URLs name"
RECORDINGS = "call recordings in the storage that their URLs name"


def lines(disposition: Disposition, *, profile: Disposition) -> list[Effect]:
    return [
        Effect("profiles", 1, profile),
        Effect("videos", 2, disposition),
        Effect(FILES, 3, Disposition.KEPT),
        Effect("matches", 2, disposition),
        Effect("calls", 2, disposition),
        Effect(RECORDINGS, 2, Disposition.KEPT),
        *([Effect("ids of erased users, with the time", 1, Disposition.KEPT)] if profile is Disposition.DELETED else []),
        Effect("points in the shelf", 1, Disposition.DELETED),
    ]


def tables() -> dict[str, list[Any]]:
    return {
        model.__name__: list(model._base_manager.order_by("pk").values()) for model in (User, Video, Match, VideoCall, ProfileEmbedding)
    }


# --- Hard -------------------------------------------------------------------------------------------------------------------------


def test_erase__preview_equals_the_effects(shelf: Shelf) -> None:
    person = full_life()
    shelf.ids.add(person.pk)
    before, expected = tables(), lines(Disposition.DELETED, profile=Disposition.DELETED)
    assert preview_erasure(person.pk) == expected
    assert tables() == before
    assert erase(person.pk) == Outcome(person.pk, changed=True, effects=tuple(expected))
    assert shelf.ids == set()
    after = tables()
    assert str(person.pk) not in str(after)
    assert [after[name] for name in ("Video", "Match", "VideoCall", "ProfileEmbedding")] == [[], [], [], []]
    assert len(after["User"]) == 2  # the two matched users


@pytest.mark.parametrize("on_delete", ["", "ON DELETE RESTRICT", "DEFERRABLE INITIALLY DEFERRED"])
@pytest.mark.parametrize("table", ["users", "videos"])
def test_erase__table_of_another_program_refers_to_the_user__is_refused(table: str, on_delete: str, shelf: Shelf) -> None:
    """As a table that golang-migrate created. Without ON DELETE CASCADE, PostgreSQL refuses the deletion."""
    person = full_life()
    shelf.ids.add(person.pk)
    before = tables()
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE reports (about uuid REFERENCES {table} {on_delete})")
        cursor.execute(
            f"INSERT INTO reports SELECT id FROM {table} WHERE %s IN (id{', user_id' if table == 'videos' else ''})", [person.pk]
        )
    with pytest.raises(UserFacingError) as refused:
        erase(person.pk)
    assert str(refused.value) == (
        f"The table 'reports' refers to rows of '{person.pk}' by 'reports_about_fkey': nothing was changed."
        " Delete its rows, or give that foreign key ON DELETE CASCADE, then run this again."
    )
    assert (tables(), shelf.ids) == (before, {person.pk})


def test_erase__connects_to_stores_first_and_deletes_there_last(shelf: Shelf) -> None:
    person = UserFactory.create()
    shelf.before_removal = lambda: shelf.calls.append(f"{User.objects.filter(pk=person.pk).count()} rows")
    erase(person.pk)
    assert shelf.calls == ["session", "remove", "0 rows", "release"]


def test_erase__store_unavailable__changes_nothing(shelf: Shelf) -> None:
    person = full_life()
    before, shelf.reachable = tables(), False
    with pytest.raises(StoreUnavailable, match="The shelf is too high"):
        preview_erasure(person.pk)
    with pytest.raises(StoreUnavailable, match="The shelf is too high"):
        erase(person.pk)
    assert tables() == before


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("moment", ["before_removal", "after_removal"])
def test_erase__store_fails_at_the_deletion__postgresql_is_unchanged(shelf: Shelf, moment: str) -> None:
    person = full_life()
    shelf.ids.add(person.pk)
    before = tables()
    setattr(shelf, moment, shelf.fail)
    with pytest.raises(StoreUnavailable) as refused:
        erase(person.pk)
    assert str(refused.value) == (
        "The shelf is too high. Fetch a ladder. PostgreSQL is unchanged, but the shelf may still have the user."
        " Run this again, or leave it to manage.py process_requests."
    )
    assert tables() == before
    assert (person.pk in shelf.ids) == (moment == "before_removal")


def test_erase__of_a_staff_member(shelf: Shelf) -> None:
    person = full_life()
    working_life(person)
    assert erase(person.pk).effects[1:5] == (
        Effect("groups and permissions", 2, Disposition.DELETED),
        Effect("sessions", 1, Disposition.DELETED),
        Effect("admin log entries by the user", 1, Disposition.DELETED),
        Effect("admin log entries about the user, by id", 1, Disposition.KEPT),
    )
    assert Session.objects.count() == 1
    assert [entry.object_id for entry in LogEntry.objects.all()] == [str(person.pk)]


def test_erase__user_that_only_a_store_has(shelf: Shelf) -> None:
    user_id = uuid4()
    shelf.ids.add(user_id)
    expected = [Effect("points in the shelf", 1, Disposition.DELETED)]
    assert preview_erasure(user_id) == expected
    assert erase(user_id) == Outcome(user_id, changed=False, effects=tuple(expected))
    assert shelf.ids == set()


def test_erase__user_unknown_to_every_store(shelf: Shelf) -> None:
    unknown_id = uuid4()
    for act in (preview_erasure, erase):
        with pytest.raises(UserFacingError) as refused:
            act(unknown_id)
        assert str(refused.value) == f"Neither PostgreSQL nor the shelf has a user with the id '{unknown_id}'."


@pytest.mark.django_db(transaction=True)
def test_erase__user_that_only_a_store_has__stays_if_the_entry_cannot_be_written(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_arguments: object, **_options: object) -> None:
        raise DatabaseError("The connection is closed")

    user_id = uuid4()
    shelf.ids.add(user_id)
    monkeypatch.setattr(AuditEntry.objects, "bulk_create", lost)
    with pytest.raises(DatabaseError):
        erase(user_id)
    assert shelf.ids == {user_id}


# --- Soft -------------------------------------------------------------------------------------------------------------------------


def test_soft_delete__preview_equals_the_effects(shelf: Shelf) -> None:
    person = full_life()
    shelf.ids.add(person.pk)
    before, expected = tables(), lines(Disposition.KEPT, profile=Disposition.HIDDEN)
    assert preview_soft_deletion(person.pk) == expected
    assert tables() == before
    assert soft_delete(person.pk) == Outcome(person.pk, changed=True, effects=tuple(expected))
    assert shelf.ids == set()


def test_soft_delete__sets_only_deleted_at(shelf: Shelf) -> None:
    person = full_life()
    before = tables()
    soft_delete(person.pk)
    after = tables()
    (row,) = (row for row in after["User"] if row["id"] == person.pk)
    assert row.pop("deleted_at") is not None
    for rows in (before, after):
        for user in rows["User"]:
            user.pop("updated_at")
    (old,) = (row for row in before["User"] if row["id"] == person.pk)
    assert old.pop("deleted_at") is None
    assert after == before


@pytest.mark.django_db(transaction=True)
def test_soft_delete__commits_before_it_connects_to_stores(shelf: Shelf) -> None:
    person = full_life()
    shelf.ids.add(person.pk)
    shelf.reachable = False
    preview = preview_soft_deletion(person.pk)
    assert preview[-1] == Effect("points in the shelf", None, Disposition.DELETED)
    assert str(preview[-1]) == "points in the shelf: unknown, deleted"
    outcome = soft_delete(person.pk)
    assert outcome.changed
    assert outcome.pending_stores == (PendingStore("shelf", "The shelf is too high. Fetch a ladder."),)
    assert not User.objects.alive().filter(pk=person.pk).exists()
    assert shelf.ids == {person.pk}


def test_soft_delete__again__deletes_the_remaining_point(shelf: Shelf) -> None:
    person = UserFactory.create()
    soft_delete(person.pk)
    first = User.objects.get(pk=person.pk).deleted_at
    shelf.ids.add(person.pk)
    outcome = soft_delete(person.pk)
    assert (outcome.changed, outcome.pending_stores) == (False, ())
    assert outcome.effects[-1] == Effect("points in the shelf", 1, Disposition.DELETED)
    assert shelf.ids == set()
    assert User.objects.get(pk=person.pk).deleted_at == first


def test_soft_delete__user_restored_meanwhile__keeps_the_point(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    person = UserFactory.create()
    shelf.ids.add(person.pk)
    session = shelf.session

    def come_back() -> Any:
        User.objects.filter(pk=person.pk).update(deleted_at=None)
        return session()

    monkeypatch.setattr(shelf, "session", come_back)
    assert soft_delete(person.pk).effects[-1] == Effect("points in the shelf", 0, Disposition.DELETED)
    assert shelf.ids == {person.pk}


def test_soft_delete__an_unknown_user(shelf: Shelf) -> None:
    unknown_id = uuid4()
    for act in (preview_soft_deletion, soft_delete):
        with pytest.raises(UserFacingError, match=f"^PostgreSQL has no user with the id '{unknown_id}'"):
            act(unknown_id)
