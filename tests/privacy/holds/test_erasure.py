"""An erasure leaves held rows and an empty row of the user, stays pending, and is completed when the holds end."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connection, transaction

from accounts.models import User
from calls.models import VideoCall
from matching.models import Match
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase, preview_erasure, soft_delete
from privacy.actions.export import export_sections
from privacy.actions.holds import active_holds, hold, release
from privacy.actions.pending import process_pending
from privacy.actions.replay import replay
from privacy.actions.undo_erasure import undo_erasures
from privacy.declarations import Disposition
from privacy.ledger.book import entries_of
from privacy.ledger.entry import Kind
from privacy.ledger.states import oldest_pending_seconds
from privacy.models import ErasedUser, Hold, PendingAction
from privacy.models.holds import Article, Section
from privacy.registry import Effect
from privacy.users import anonymized_email
from tests.factories import MatchFactory, UserFactory, VideoCallFactory
from tests.privacy.audit import audited
from tests.privacy.holds.ending import end_by_date
from tests.privacy.life import EMAIL, WORDS, full_life, working_life
from tests.privacy.shelf import Shelf
from tests.support.collections import live as live
from vectorstore.models import ImportDigest, ProfileEmbedding
from vectorstore.sync.inline import sync_users
from videos.models import Video

pytestmark = pytest.mark.django_db(transaction=True)

CLAIMS = Article.LEGAL_CLAIMS
NEXT_YEAR = datetime.now(UTC).date() + timedelta(days=365)


def kinds(user_id: UUID) -> list[Kind]:
    return [entry.kind for entry in entries_of(user_id)]


def pending() -> list[tuple[int, bool]]:
    return list(PendingAction.objects.order_by("pk").values_list("kind", "is_held"))


def rows_of(person: User) -> dict[str, int]:
    return {
        "matches": Match.objects.filter(user=person).count() + Match.objects.filter(matched_user=person).count(),
        "calls": VideoCall.objects.filter(caller=person).count() + VideoCall.objects.filter(callee=person).count(),
        "videos": Video.objects.filter(user=person).count(),
    }


def is_empty_row(user_id: UUID) -> bool:
    """Return whether all is gone that the row of the user had."""
    row = User.objects.filter(pk=user_id).values().get()
    kept = {"id", "created_at", "updated_at", "deleted_at"}
    return {name: value for name, value in row.items() if name not in kept} == {
        "email": anonymized_email(user_id),
        "full_name": "Deleted User",
        "bio": None,
        "password": "",
        "last_login": None,
        "date_of_birth": date(1900, 1, 1),
        "gender": "other",
        "video_id": None,
        "verified": False,
        "active": False,
        "is_staff": False,
        "is_superuser": False,
        "restricted_at": None,
        "objected_at": None,
        "unconfirmed_at": None,
    }


COMBINATIONS = [chosen for size in (1, 2, 3) for chosen in itertools.combinations(Section.values, size)]


@pytest.mark.parametrize("ends_by", ["release", "date"])
@pytest.mark.parametrize("sections", COMBINATIONS, ids="-".join)
def test_erasure__each_combination_of_sections__in_each_order_of_ends(sections: tuple[str, ...], ends_by: str, shelf: Shelf) -> None:
    for order in itertools.permutations(range(len(sections))):
        person = full_life()
        shelf.ids.add(person.pk)
        holds = [hold(person.pk, Section(section), CLAIMS, until=NEXT_YEAR) for section in sections]
        held = {*sections, *(["matches"] if "calls" in sections else [])}  # a call needs its match
        outcome = erase(person.pk)
        for index in order:
            assert rows_of(person) == {section: 2 if section in held else 0 for section in Section.values}
            assert is_empty_row(person.pk) and shelf.ids == set()
            assert pending() == [(Kind.ERASE, True)] and kinds(person.pk) == [Kind.ERASE]
            assert process_pending().completed == 0
            if ends_by == "release":
                release(holds[index].pk)
            else:
                end_by_date(holds[index])
        assert outcome.changed and outcome.has_held_data
        assert [hold.pk for hold in active_holds(person.pk)] == []
        assert process_pending().completed == 1
        assert not User.objects.filter(pk=person.pk).exists() and pending() == []
        assert rows_of(person) == dict.fromkeys(Section.values, 0)
        assert kinds(person.pk) == [Kind.ERASE]
        User.objects.all().delete()  # the other users of the matches
        PendingAction.objects.all().delete()


def test_erasure__one_hold_of_two_on_a_section__keeps_it(shelf: Shelf) -> None:
    person = full_life()
    first, second = (hold(person.pk, Section.MATCHES, article) for article in (CLAIMS, Article.LEGAL_OBLIGATION))
    erase(person.pk)
    release(first.pk)
    assert process_pending().completed == 0 and Match.objects.count() == 2
    release(second.pk)
    assert process_pending().completed == 1 and not Match.objects.exists()


def test_erasure__preview_equals_the_effects_and_names_ground_and_end(shelf: Shelf) -> None:
    person = full_life()
    shelf.ids.add(person.pk)
    held = hold(person.pk, Section.MATCHES, CLAIMS, until=NEXT_YEAR)
    previewed = preview_erasure(person.pk)
    assert tuple(previewed) == erase(person.pk).effects
    assert Effect(f"matches (hold {held.pk}, article 17 (3) (e), until {NEXT_YEAR})", 2, Disposition.HELD) in previewed
    assert Effect("matches", 0, Disposition.DELETED) in previewed and Effect("calls", 2, Disposition.DELETED) in previewed
    assert Effect("rows of users, without the data of the user", 1, Disposition.HELD) in previewed


def test_erasure__login_is_dead_and_the_address_is_free(shelf: Shelf) -> None:
    person = full_life()
    working_life(person)
    hold(person.pk, Section.MATCHES, CLAIMS)
    sessions = Session.objects.count()
    erase(person.pk)
    row = User.objects.get(pk=person.pk)
    assert not row.is_active and not row.check_password("") and not row.groups.exists() and not row.user_permissions.exists()
    assert Session.objects.count() == sessions - 1
    assert User.objects.create_user(EMAIL, "a password", full_name="Wilma", date_of_birth=date(1990, 1, 1), gender="female").pk != person.pk


def test_erasure__no_word_of_the_user_is_left_in_rows_that_are_not_held(shelf: Shelf) -> None:
    person = full_life()
    hold(person.pk, Section.MATCHES, CLAIMS)
    erase(person.pk)
    left = str([list(model._base_manager.values()) for model in (User, Video, VideoCall, Match, ImportDigest)])
    assert not [word for word in WORDS if word in left]


def test_erasure__matches_of_both_users__the_other_user_stays_too(shelf: Shelf) -> None:
    """A match of a held user refers to the other user, whose row stays empty until the hold ends. Other matches of that user go."""
    person, other = UserFactory.create(), UserFactory.create()
    kept, gone = MatchFactory.create(user=person, matched_user=other), MatchFactory.create(user=other)
    VideoCallFactory.create(match=kept, caller=person, callee=other)
    held = hold(person.pk, Section.MATCHES, CLAIMS)
    assert erase(other.pk).has_held_data
    assert is_empty_row(other.pk) and User.objects.get(pk=person.pk).email == person.email
    assert list(Match.objects.values_list("pk", flat=True)) == [kept.pk] and gone.pk != kept.pk
    assert not VideoCall.objects.exists()
    release(held.pk)
    assert process_pending().completed == 1
    assert not User.objects.filter(pk=other.pk).exists() and not Match.objects.exists()


def test_erasure__audit_log_has_the_begin_and_the_end_once(shelf: Shelf) -> None:
    person = full_life()
    held = hold(person.pk, Section.MATCHES, CLAIMS)
    erase(person.pk)
    for _ in range(3):
        process_pending()
    release(held.pk)
    process_pending()
    assert [(action, outcome) for action, _, _, outcome in audited()] == [
        *(("hold", "done"), ("erase", "started"), ("release_hold", "done"), ("erase", "done")),
    ]


def test_erasure__again__changes_nothing(shelf: Shelf) -> None:
    person = full_life()
    hold(person.pk, Section.MATCHES, CLAIMS)
    erase(person.pk)
    before = list(User.objects.order_by("pk").values()), list(Match.objects.order_by("pk").values())
    assert not erase(person.pk).changed
    after = list(User.objects.order_by("pk").values()), list(Match.objects.order_by("pk").values())
    assert [{**row, "updated_at": None} for row in after[0]] == [{**row, "updated_at": None} for row in before[0]] and after[1] == before[1]
    assert kinds(person.pk) == [Kind.ERASE] and pending() == [(Kind.ERASE, True)]


def test_erasure__no_row_of_the_user_can_be_inserted_meanwhile(shelf: Shelf) -> None:
    person = full_life()
    hold(person.pk, Section.VIDEOS, CLAIMS)
    erase(person.pk)
    assert ErasedUser.objects.get(pk=person.pk).deleted
    with pytest.raises(Exception, match="was anonymized or deleted for good"), transaction.atomic():
        Video.objects.create(user_id=person.pk, storage_url="", duration=1, file_size=1)


def test_pending__held_action_is_not_late_and_does_not_block_others(shelf: Shelf) -> None:
    person, other = full_life(), UserFactory.create()
    hold(person.pk, Section.MATCHES, CLAIMS)
    erase(person.pk)
    assert oldest_pending_seconds() is None
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM users WHERE id = %s", [other.pk])
    result = process_pending()
    assert (result.completed, result.waiting) == (1, {})


def test_undo__of_a_held_erasure__ends_it(shelf: Shelf) -> None:
    person = full_life()
    held = hold(person.pk, Section.MATCHES, CLAIMS)
    erase(person.pk)
    undo_erasures([person.pk])
    process_pending()
    assert kinds(person.pk) == [Kind.ERASE, Kind.UNDO_ERASE] and pending() == []
    release(held.pk)
    process_pending()
    assert User.objects.filter(pk=person.pk).exists() and Match.objects.count() == 2


def test_replay__of_a_held_erasure__has_nothing_to_do(shelf: Shelf) -> None:
    person = full_life()
    hold(person.pk, Section.MATCHES, CLAIMS)
    erase(person.pk)
    assert replay(dry_run=True).repeated == {} and replay().repeated == {}


def test_replay__of_a_user_who_is_back__leaves_what_is_held(shelf: Shelf) -> None:
    """A backup from before the erasure has the user and the hold."""
    person = full_life()
    hold(person.pk, Section.MATCHES, CLAIMS)
    erase(person.pk)
    PendingAction.objects.all().delete()
    ErasedUser.objects.all().delete()
    PendingAction.objects.all().delete()
    User.objects.filter(pk=person.pk).update(email=EMAIL, full_name="Wilhelmina Quux", deleted_at=None)
    PendingAction.objects.all().delete()
    assert replay().repeated == {"Erase": 1}
    assert is_empty_row(person.pk) and Match.objects.count() == 2
    assert pending() == [(Kind.ERASE, True)] and replay().repeated == {}


def test_soft_deletion__of_a_held_user(shelf: Shelf) -> None:
    person = full_life()
    hold(person.pk, Section.MATCHES, CLAIMS)
    assert soft_delete(person.pk).changed
    assert rows_of(person) == dict.fromkeys(Section.values, 2)


@pytest.mark.parametrize("by", ["the action", "the statement of the guide"])
def test_anonymization__leaves_held_rows_until_the_end(by: str, shelf: Shelf) -> None:
    person = full_life()
    held = [hold(person.pk, section, CLAIMS) for section in (Section.VIDEOS, Section.CALLS)]
    before = list(Video.objects.order_by("pk").values()), list(VideoCall.objects.order_by("pk").values())
    if by == "the action":
        assert anonymize(person.pk).has_held_data
    else:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE users SET email = 'deleted_' || id || '@findme.ai', full_name = 'Deleted User', bio = NULL, password_hash = '',"
                " deleted_at = NOW() WHERE id = %s",
                [person.pk],
            )
    process_pending()
    assert User.objects.get(pk=person.pk).email == anonymized_email(person.pk)
    assert (list(Video.objects.order_by("pk").values()), list(VideoCall.objects.order_by("pk").values())) == before
    assert pending() == [(Kind.ANONYMIZE, True)] and kinds(person.pk).count(Kind.ANONYMIZE) == 1
    for one in held:
        release(one.pk)
    assert process_pending().completed == 1
    assert set(Video.objects.values_list("storage_url", flat=True)) == {""} and pending() == []
    assert set(VideoCall.objects.values_list("recording_url", flat=True)) == {None}


def test_anonymization__of_the_other_user_of_a_held_call__leaves_the_call(shelf: Shelf) -> None:
    person = full_life()
    hold(person.pk, Section.CALLS, CLAIMS)
    other = Match.objects.filter(user=person).get().matched_user
    assert anonymize(other.pk).has_held_data
    assert VideoCall.objects.get(callee=other).recording_url == "https://calls.example/quux.webm"


def test_export__has_the_holds(shelf: Shelf) -> None:
    person = full_life()
    hold(person.pk, Section.CALLS, CLAIMS, until=NEXT_YEAR)
    (exported,) = export_sections(person.pk)["erasure"]["holds"]
    assert (exported["section"], exported["article"], exported["until"]) == ("calls", "17_3_e", NEXT_YEAR)


# --- Commands ---------------------------------------------------------------------------------------------------------------------


def test_commands__hold_erase_release(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    person = full_life()
    call_command("hold_user", EMAIL, "--section", "matches", "--ground", "17_3_e", "--until", str(NEXT_YEAR))
    held = Hold.objects.get()
    assert capsys.readouterr().out == (
        f"{person.pk}: matches held (hold {held.pk}, article 17 (3) (e), until {NEXT_YEAR})."
        f" To release it, run: manage.py release_hold {held.pk}\n"
    )
    with pytest.raises(SystemExit) as ended:
        call_command("erase_user", str(person.pk), "--hard", "--no-input")
    written = capsys.readouterr()
    assert ended.value.code == 1
    assert written.out.startswith(f"{person.pk} is deleted for good except for held data.\n")
    assert f"  matches (hold {held.pk}, article 17 (3) (e), until {NEXT_YEAR}): 2, held\n" in written.out
    assert written.err == f"{person.pk}: held data stay. When the holds end, manage.py process_requests completes the action.\n"
    call_command("release_hold", str(held.pk))
    assert (
        capsys.readouterr().out == f"Hold {held.pk} of {person.pk} is released. manage.py process_requests completes what it has delayed.\n"
    )
    call_command("process_requests")
    assert "1 privacy action completed." in capsys.readouterr().out
    assert not User.objects.filter(pk=person.pk).exists()


# --- On a server ------------------------------------------------------------------------------------------------------------------


def test_erasure__with_qdrant__the_point_and_the_embedding_are_gone(live: str) -> None:
    person = full_life()
    sync_users([person.pk])
    hold(person.pk, Section.MATCHES, CLAIMS)
    outcome = erase(person.pk)
    assert Effect("points in the vector store", 1, Disposition.DELETED) in outcome.effects
    assert not ProfileEmbedding.objects.exists() and not ImportDigest.objects.exists()
    assert is_empty_row(person.pk) and Match.objects.count() == 2
    sync_users([person.pk])
    assert Effect("points in the vector store", 0, Disposition.DELETED) in preview_erasure(person.pk)
