"""No way of writing restores data of a user who was anonymized or deleted for good."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError, IntegrityError, OperationalError, connection, transaction
from django.db.models import Q

from accounts.models import User
from calls.models import VideoCall
from matching.models import Match
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase
from privacy.actions.holds import hold
from privacy.actions.pending import process_pending
from privacy.actions.undo_erasure import undo_erasures
from privacy.models import ErasedUser
from privacy.models.holds import Article, Section
from tests.factories import MatchFactory, ProfileEmbeddingFactory, UserFactory, VideoCallFactory, VideoFactory, unit_vector
from tests.privacy.life import full_life
from tests.privacy.shelf import Shelf, install_shelf
from tests.support.sessions import another_connection, is_waiting_for_lock
from tests.support.threads import in_thread
from tests.support.waiting import wait_until
from vectorstore.models import ProfileEmbedding
from videos.models import Video

pytestmark = pytest.mark.django_db(transaction=True)

GUIDE = """
    UPDATE users SET email = 'deleted_' || id || '@findme.ai', full_name = 'Deleted User', bio = NULL, password_hash = '', deleted_at = NOW()
    WHERE id = %s
"""


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Use a shelf as the only store. All owners stay, also that of the embeddings."""
    return install_shelf(monkeypatch)


def refused(write: Callable[[], object]) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        write()


def test_erased__by_plain_sql__cannot_be_inserted_again() -> None:
    person = UserFactory.create()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM users WHERE id = %s", [person.pk])
    assert ErasedUser.objects.get().deleted
    with pytest.raises(IntegrityError, match=f"User {person.pk} was anonymized or deleted for good") as raised:
        person.save(force_insert=True)
    assert raised.value.__cause__.diag.constraint_name == "users_erased_user_check"  # type: ignore[union-attr]
    assert person.email not in str(raised.value)


def test_anonymized__by_the_guides_statement() -> None:
    person = full_life()
    with connection.cursor() as cursor:
        cursor.execute(GUIDE, [person.pk])
        cursor.execute(GUIDE, [person.pk])
    assert [(one.pk, one.deleted) for one in ErasedUser.objects.all()] == [(person.pk, False)]
    refused(lambda: User.objects.filter(pk=person.pk).update(bio="Back."))
    refused(lambda: User.objects.filter(pk=person.pk).update(deleted_at=None))
    refused(lambda: User.objects.filter(pk=person.pk).update(email="back@example.com"))
    refused(lambda: VideoFactory.create(user=person))
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM users WHERE id = %s", [person.pk])
    assert ErasedUser.objects.get().deleted


def test_anonymized__by_the_guides_statement__embedding_can_only_be_cleared() -> None:
    person, other = full_life(), ProfileEmbeddingFactory.create().user
    embeddings = ProfileEmbedding.objects.filter(pk__in=[person.pk, other.pk])
    embeddings.update(video_features=[0.5])
    with connection.cursor() as cursor:
        cursor.execute(GUIDE, [person.pk])
    written: list[dict[str, Any]] = [
        {"vector": unit_vector(9)},
        {"location": {"lat": 1, "lon": 2}},
        {"interests": ["new"]},
        {"video_features": [0.25]},
        {"model": "new"},
    ]
    for values in written:
        with pytest.raises(IntegrityError, match=f"User {person.pk} was anonymized or deleted for good") as raised, transaction.atomic():
            embeddings.update(**values)
        assert raised.value.__cause__.diag.constraint_name == "profile_embeddings_erased_user_check"  # type: ignore[union-attr]
        ProfileEmbedding.objects.filter(pk=other.pk).update(**values)
    stays: dict[str, Any] = {"interests": ["theremin"]}
    cleared: dict[str, Any] = {"location": None, "interests": [], "video_features": None, "model": ""}
    for values in (stays, cleared):
        ProfileEmbedding.objects.filter(pk=person.pk).update(**values)
    ProfileEmbedding.objects.filter(pk=person.pk).delete()


def test_anonymized__by_the_guides_statement__older_snapshot_cannot_change_the_embedding() -> None:
    person = full_life()
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT count(*) FROM erased_users")
        with connection.cursor() as mine:
            mine.execute(GUIDE, [person.pk])
        with pytest.raises(OperationalError, match="could not serialize access"):
            cursor.execute("UPDATE profile_embeddings SET model = 'new' WHERE user_id = %s", [person.pk])


def test_anonymized__other_columns_can_be_written(shelf: Shelf) -> None:
    person, other = full_life(), UserFactory.create()
    anonymize(person.pk)
    User.objects.filter(pk=person.pk).update(active=False, verified=False)
    Video.objects.filter(user=person).update(status=Video.Status.REJECTED, verification_score=0.1)
    VideoCall.objects.filter(Q(caller=person) | Q(callee=person)).update(quality_rating=1)
    Match.objects.filter(Q(user=person) | Q(matched_user=person)).update(status=Match.Status.EXPIRED)
    other.bio = "Still here."
    other.save()
    VideoFactory.create(user=other)
    anonymize(person.pk)


def test_anonymized__no_new_match_call_or_embedding(shelf: Shelf) -> None:
    person = full_life()
    match = MatchFactory.create(user=person)
    anonymize(person.pk)
    for make in (
        lambda: MatchFactory.create(user=person),
        lambda: MatchFactory.create(matched_user=person),
        lambda: VideoCallFactory.create(match=match, caller=match.user, callee=match.matched_user),
        lambda: ProfileEmbeddingFactory.create(user=person),
        lambda: Video.objects.filter(pk=VideoFactory.create().pk).update(user=person),
    ):
        refused(make)


def test_anonymized__only_the_owner_of_the_table_can_undo_it(shelf: Shelf) -> None:
    person = full_life()
    anonymize(person.pk)
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE test_service")
        try:
            cursor.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO test_service")
            for statement in ("DELETE FROM erased_users", "UPDATE erased_users SET deleted = false", "TRUNCATE erased_users"):
                with transaction.atomic():
                    cursor.execute("SET LOCAL ROLE test_service")
                    with pytest.raises(DatabaseError, match="Only the role that owns"), transaction.atomic():
                        cursor.execute(statement)
            with transaction.atomic():
                cursor.execute("SET LOCAL ROLE test_service")
                cursor.execute("UPDATE users SET active = NOT active WHERE id = %s", [person.pk])
                refused(lambda: cursor.execute("UPDATE users SET bio = 'back' WHERE id = %s", [person.pk]))
        finally:
            cursor.execute("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM test_service")
            cursor.execute("DROP ROLE test_service")
    ErasedUser.objects.filter(pk=person.pk).delete()
    User.objects.filter(pk=person.pk).update(email="back@example.com", full_name="Back", deleted_at=None)
    assert not ErasedUser.objects.exists()


def test_anonymized__again_after_an_undo(shelf: Shelf) -> None:
    person = UserFactory.create()
    anonymize(person.pk)
    undo_erasures([person.pk])
    User.objects.filter(pk=person.pk).update(full_name="Back")
    anonymize(person.pk)
    assert ErasedUser.objects.filter(pk=person.pk, deleted=False).exists()
    refused(lambda: User.objects.filter(pk=person.pk).update(full_name="Back again"))


def test_anonymized__again_by_the_guides_statement_after_an_undo() -> None:
    """The address stays equal, and only the time of the deletion changes."""
    person = UserFactory.create()
    with connection.cursor() as cursor:
        cursor.execute(GUIDE, [person.pk])
        assert undo_erasures([person.pk]) == 1
        cursor.execute(GUIDE, [person.pk])
    refused(lambda: User.objects.filter(pk=person.pk).update(full_name="Back Again"))


@pytest.mark.parametrize("value", ["null", '""', '"{}"', "{}"])
def test_anonymized__empty_json_is_equal_for_insert_and_update(value: str) -> None:
    """Otherwise a row that PostgreSQL accepted could not be restored."""
    person = UserFactory.create()
    video = VideoFactory.create(user=person)
    with connection.cursor() as cursor:
        cursor.execute(GUIDE, [person.pk])
        cursor.execute(
            "UPDATE videos SET storage_url = '', thumbnail_url = NULL, metadata = %s, deleted_at = now() WHERE id = %s", [value, video.pk]
        )
        cursor.execute("CREATE TEMP TABLE kept AS SELECT * FROM videos; DELETE FROM videos; INSERT INTO videos SELECT * FROM kept")
    assert Video.objects.filter(pk=video.pk).exists()


def test_erased__loading_an_older_copy_of_the_table_weakens_no_erasure() -> None:
    anonymized, deleted = UserFactory.create_batch(2)
    with connection.cursor() as cursor:
        cursor.execute(GUIDE, [anonymized.pk])
        cursor.execute("DELETE FROM users WHERE id = %s", [deleted.pk])
        before = list(ErasedUser.objects.order_by("pk").values())
        cursor.execute("UPDATE erased_users SET deleted = false, erased_at = now() + interval '1 day'")
        assert list(ErasedUser.objects.order_by("pk").values()) == before
        cursor.execute("UPDATE erased_users SET deleted = true")
    assert all(ErasedUser.objects.values_list("deleted", flat=True))


def insert_video(cursor: Any, user_id: UUID) -> None:
    cursor.execute("INSERT INTO videos (user_id, storage_url, duration, file_size) VALUES (%s, 'https://example.com/v', 1, 1)", [user_id])


def test_concurrently__a_video_waits_for_an_anonymization_and_is_refused() -> None:
    person = UserFactory.create()
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(GUIDE, [person.pk])

        def write() -> None:
            with connection.cursor() as mine:
                insert_video(mine, person.pk)

        with in_thread(write) as writing:
            wait_until(is_waiting_for_lock, "the video waits")
            cursor.execute("COMMIT")
            with pytest.raises(IntegrityError, match="was anonymized or deleted for good"):
                writing.result()
    assert not Video.objects.exists()


def test_concurrently__an_anonymization_waits_for_a_video_and_clears_it(shelf: Shelf) -> None:
    person = UserFactory.create()
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        insert_video(cursor, person.pk)
        with in_thread(lambda: anonymize(person.pk)) as anonymizing:
            wait_until(is_waiting_for_lock, "the anonymization waits")
            cursor.execute("COMMIT")
            assert anonymizing.result().changed
    assert Video.objects.get().storage_url == ""


def test_concurrently__a_user_is_inserted_again_during_the_deletion() -> None:
    person = UserFactory.create()
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("DELETE FROM users WHERE id = %s", [person.pk])
        with in_thread(lambda: person.save(force_insert=True)) as inserting:
            wait_until(is_waiting_for_lock, "the row waits")
            cursor.execute("COMMIT")
            with pytest.raises(IntegrityError, match="was anonymized or deleted for good"):
                inserting.result()
    assert not User.objects.exists()


def test_concurrently__a_snapshot_from_before_the_deletion_does_not_hide_it() -> None:
    """In REPEATABLE READ the transaction does not see the row of ``erased_users``. The INSERT fails all the same."""
    person = UserFactory.create()
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT count(*) FROM erased_users")
        User.objects.filter(pk=person.pk).delete()
        with pytest.raises(OperationalError, match="could not serialize access"):
            cursor.execute(
                "INSERT INTO users (id, email, password_hash, full_name, date_of_birth, gender) VALUES (%s, 'back@example.com', '', 'Back', '2000-01-01', 'other')",
                [person.pk],
            )
    assert not User.objects.exists()
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        cursor.execute(
            "INSERT INTO users (email, password_hash, full_name, date_of_birth, gender) VALUES ('new@example.com', '', 'New', '2000-01-01', 'other')"
        )
        cursor.execute("COMMIT")
    assert User.objects.count() == 1
    assert ErasedUser.objects.count() == 1


# --- Reduced data -----------------------------------------------------------------------------------------------------------------


def test_date_of_birth__of_an_anonymized_user__cannot_be_written_back(shelf: Shelf) -> None:
    person = full_life(date_of_birth=date(1990, 5, 17))
    anonymize(person.pk)
    for column, value in (("date_of_birth", date(1990, 5, 17)), ("date_of_birth", date(1991, 1, 1)), ("date_of_birth", date(1900, 5, 17))):
        with pytest.raises(IntegrityError, match="was anonymized or deleted for good"), transaction.atomic():
            User.objects.filter(pk=person.pk).update(**{column: value})
    stale = User(pk=person.pk, date_of_birth=date(1990, 5, 17))
    with pytest.raises(IntegrityError, match="was anonymized or deleted for good"), transaction.atomic():
        User.objects.bulk_update([stale], ["date_of_birth"])
    User.objects.filter(pk=person.pk).update(date_of_birth=date(1990, 1, 1), gender="other")
    assert undo_erasures([person.pk]) == 1
    User.objects.filter(pk=person.pk).update(date_of_birth=date(1990, 5, 17))


def test_date_of_birth__after_the_statement_of_the_guide__can_only_be_reduced(shelf: Shelf) -> None:
    person = full_life(date_of_birth=date(1990, 5, 17))
    with connection.cursor() as cursor:
        cursor.execute(GUIDE, [person.pk])
    with pytest.raises(IntegrityError, match="was anonymized or deleted for good"), transaction.atomic():
        User.objects.filter(pk=person.pk).update(date_of_birth=date(1990, 5, 18))
    assert process_pending().completed > 0
    assert User.objects.get(pk=person.pk).date_of_birth == date(1990, 1, 1)


@pytest.mark.parametrize(("column", "value"), [("date_of_birth", date(1990, 1, 1)), ("gender", "female")])
def test_row_that_a_hold_keeps__gets_no_data_back(column: str, value: object, shelf: Shelf) -> None:
    person = full_life(date_of_birth=date(1990, 5, 17), gender="female")
    anonymize(person.pk)
    hold(person.pk, Section.MATCHES, Article.LEGAL_CLAIMS)
    erase(person.pk)
    with pytest.raises(IntegrityError, match="was anonymized or deleted for good"), transaction.atomic():
        User.objects.filter(pk=person.pk).update(**{column: value})
    erase(person.pk)
    assert User.objects.values_list("date_of_birth", "gender").get(pk=person.pk) == (date(1900, 1, 1), "other")
