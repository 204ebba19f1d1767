"""The table of the holds, and that no SQL deletes held rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from psycopg.errors import CheckViolation, RestrictViolation

from accounts.models import User
from calls.models import VideoCall
from findme.core.db.dates import LAST_DATE
from findme.core.errors import UserFacingError
from matching.models import Match
from privacy.actions.erase import erase
from privacy.actions.holds import active_holds, hold, release
from privacy.models import Hold
from privacy.models.holds import Article, Section
from tests.factories import UserFactory
from tests.privacy.audit import audited
from tests.privacy.holds.ending import end_by_date
from tests.privacy.life import full_life
from tests.privacy.shelf import Shelf
from videos.models import Video

pytestmark = pytest.mark.django_db(transaction=True)

MODELS: dict[str, Any] = {Section.MATCHES: Match, Section.CALLS: VideoCall, Section.VIDEOS: Video}
TABLES = {Section.MATCHES: "matches", Section.CALLS: "video_calls", Section.VIDEOS: "videos"}
Statement = Callable[[User], str]


def run(statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def refusal(statement: str) -> str:
    with pytest.raises(DatabaseError) as refused:
        run(statement)
    assert isinstance(refused.value.__cause__, RestrictViolation)
    return str(refused.value.__cause__.diag.message_primary)


DELETIONS: dict[str, Statement] = {
    "the user": lambda user: f"DELETE FROM users WHERE id = '{user.pk}'",
    "all users": lambda _user: "DELETE FROM users",
    "the users by TRUNCATE": lambda _user: "TRUNCATE users CASCADE",
    "as a replica": lambda user: f"SET LOCAL session_replication_role = replica; DELETE FROM users WHERE id = '{user.pk}'",
    "in REPEATABLE READ": lambda user: f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; DELETE FROM users WHERE id = '{user.pk}'",
}


@pytest.mark.parametrize("section", Section.values)
@pytest.mark.parametrize("what", DELETIONS)
def test_held_user__cannot_be_deleted(what: str, section: Section) -> None:
    person = full_life()
    held = hold(person.pk, section, Article.LEGAL_CLAIMS)
    assert refusal(DELETIONS[what](person)).startswith(f"Hold {held.pk} keeps rows of the user {person.pk} in the table ")
    assert User.objects.filter(pk=person.pk).exists() and MODELS[section].objects.count() == 2


@pytest.mark.parametrize("section", Section.values)
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_held_rows__cannot_be_deleted(section: Section, statement: str) -> None:
    person = full_life()
    held = hold(person.pk, section, Article.LEGAL_CLAIMS)
    assert refusal(statement.format(TABLES[section])).startswith(f"Hold {held.pk} keeps rows")
    assert MODELS[section].objects.count() == 2


@pytest.mark.parametrize("end", ["released", "by date"])
def test_held_rows__can_be_deleted_after_the_hold(end: str) -> None:
    person = full_life()
    held = hold(person.pk, Section.MATCHES, Article.LEGAL_CLAIMS)
    if end == "released":
        release(held.pk)
    else:
        end_by_date(held)
    assert active_holds(person.pk) == []
    run(f"DELETE FROM users WHERE id = '{person.pk}'")
    assert not Match.objects.exists()


def test_rows_of_other_sections_and_users__can_be_deleted() -> None:
    person, other = full_life(), full_life(email="other@example.org")
    hold(person.pk, Section.MATCHES, Article.LEGAL_CLAIMS)
    run("DELETE FROM video_calls; DELETE FROM videos")
    run(f"DELETE FROM users WHERE id = '{other.pk}'")
    assert Match.objects.count() == 2


def test_call__keeps_its_match() -> None:
    person = full_life()
    held = hold(person.pk, Section.CALLS, Article.LEGAL_CLAIMS)
    assert refusal("DELETE FROM matches").startswith(f"Hold {held.pk} keeps rows of the user {person.pk} in the table video_calls")


def test_other_user_of_a_held_match__cannot_be_deleted() -> None:
    person = full_life()
    held = hold(person.pk, Section.MATCHES, Article.LEGAL_CLAIMS)
    other = Match.objects.filter(user=person).get().matched_user
    assert [one.pk for one in active_holds(other.pk)] == [held.pk]
    assert refusal(f"DELETE FROM users WHERE id = '{other.pk}'").startswith(
        f"Hold {held.pk} keeps rows of the user {person.pk} in the table matches"
    )


def test_active_holds__of_no_user_whose_rows_are_not_held() -> None:
    person = full_life()
    hold(person.pk, Section.VIDEOS, Article.LEGAL_CLAIMS)
    other = Match.objects.filter(user=person).get().matched_user
    assert active_holds(other.pk) == []


def test_hold__is_recorded() -> None:
    person, officer = UserFactory.create(), UserFactory.create(superuser=True)
    held = hold(person.pk, Section.CALLS, Article.LEGAL_OBLIGATION, actor_id=officer.pk)
    assert (held.user_id, held.section, held.article, held.until, held.set_by_id, held.set_by_account) == (
        *(person.pk, "calls", "17_3_b", None, officer.pk, ""),
    )
    released = Hold.objects.get(pk=release(held.pk, actor_id=officer.pk).pk)
    assert released.released_by_id == officer.pk and released.released_at is not None
    assert audited() == [("hold", officer.pk, person.pk, "done"), ("release_hold", officer.pk, person.pk, "done")]


def test_hold__until_a_past_day__is_refused() -> None:
    person = UserFactory.create()
    day = datetime.now(UTC).date() - timedelta(days=2)
    with pytest.raises(UserFacingError, match=f"^{day} is in the past: nothing was changed"):
        hold(person.pk, Section.CALLS, Article.LEGAL_CLAIMS, until=day)
    assert not Hold.objects.exists()


def test_hold__until_a_day_that_no_column_takes__is_refused(shelf: Shelf) -> None:
    person = UserFactory.create()
    with pytest.raises(
        UserFacingError, match=r"^9999-12-31 is after 9999-12-30, the last possible day: nothing was changed\. Set an earlier"
    ):
        hold(person.pk, Section.CALLS, Article.LEGAL_CLAIMS, until=date.max)
    assert hold(person.pk, Section.CALLS, Article.LEGAL_CLAIMS, until=LAST_DATE).until == LAST_DATE
    erase(person.pk)  # the last day is over on the next one


def test_release__twice__is_refused() -> None:
    held = hold(UserFactory.create().pk, Section.CALLS, Article.LEGAL_CLAIMS)
    release(held.pk)
    with pytest.raises(UserFacingError, match=f"^The hold {held.pk} has ended: nothing was changed"):
        release(held.pk)
    with pytest.raises(UserFacingError, match=r"^There is no hold 4711: nothing was changed"):
        release(4711)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE holds SET until = '2020-01-01'",
        "UPDATE holds SET section = 'videos'",
        "UPDATE holds SET user_id = gen_random_uuid()",
        "DELETE FROM holds",
        "TRUNCATE holds",
    ],
)
def test_table__only_a_release_is_possible(change: str) -> None:
    hold(UserFactory.create().pk, Section.CALLS, Article.LEGAL_CLAIMS)
    assert "hold" in refusal(change).lower()


def test_table__release_is_final() -> None:
    held = hold(UserFactory.create().pk, Section.CALLS, Article.LEGAL_CLAIMS)
    release(held.pk)
    for change in (
        "UPDATE holds SET released_at = NULL, released_by_account = ''",
        "UPDATE holds SET released_at = now()",
        "DELETE FROM holds",
    ):
        refusal(change)


def test_table__unknown_user_is_refused() -> None:
    insert = "INSERT INTO holds (user_id, section, article, set_by_account) VALUES (gen_random_uuid(), 'calls', '17_3_e', 'root')"
    assert "there is no user" in refusal(insert)


@pytest.mark.parametrize(
    ("column", "value"), [("section", "profile"), ("section", "ann@example.org"), ("article", "17_1"), ("article", "a reason")]
)
def test_table__has_no_free_text(column: str, value: str) -> None:
    person = UserFactory.create()
    values = {"section": "calls", "article": "17_3_e"} | {column: value}
    with pytest.raises(DatabaseError) as refused:
        run(
            f"INSERT INTO holds (user_id, section, article, set_by_account)"
            f" VALUES ('{person.pk}', '{values['section']}', '{values['article']}', 'root')"
        )
    assert isinstance(refused.value.__cause__, CheckViolation)
