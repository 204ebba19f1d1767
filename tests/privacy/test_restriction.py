"""Restriction and objection: what is changed in both stores, refused, exported and undone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connections

from accounts.models import User
from findme.core.errors import UserFacingError
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase, soft_delete
from privacy.actions.export import export_sections
from privacy.actions.outcome import Outcome
from privacy.actions.restriction import (
    lift_restriction,
    preview_lifting,
    preview_restriction,
    restrict,
    resume_matching,
    stop_matching,
)
from privacy.declarations import Disposition
from privacy.ledger.book import entries_of
from privacy.ledger.entry import Kind
from privacy.local_dates import today
from privacy.models import AuditEntry
from privacy.registry import Effect
from tests.privacy.hiding import SWITCHES, actions_and_outcomes, pending, sql
from tests.privacy.life import full_life
from tests.privacy.shelf import Shelf
from tests.support.collections import live as live

pytestmark = pytest.mark.django_db(transaction=True)

ACTIONS = {"restricted_at": ("restrict", "lift_restriction"), "objected_at": ("object", "withdraw_objection")}


def rows() -> dict[str, Any]:
    return {**User.objects.values().get(email__startswith="someone"), "restricted_at": None, "objected_at": None, "updated_at": None}


# --- Actions ----------------------------------------------------------------------------------------------------------------------


@SWITCHES
def test_switch__hides_the_user__keeps_all_data__and_back(column: str, on: Any, off: Any, shelf: Shelf) -> None:
    person = full_life(email="someone@example.org")
    shelf.ids.add(person.pk)
    before, videos = rows(), person.videos.count()
    outcome = on(person.pk)
    assert outcome.changed and outcome.pending_stores == ()
    assert Effect("points in the shelf", 1, Disposition.DELETED) in outcome.effects
    assert Effect("profiles", 1, Disposition.HIDDEN) in outcome.effects
    assert shelf.ids == set()
    assert getattr(User.objects.get(pk=person.pk), column) is not None
    assert (rows(), person.videos.count()) == (before, videos)
    assert User.objects.get(pk=person.pk).is_active  # the login stays
    assert not on(person.pk).changed
    lifted = off(person.pk)
    assert (lifted.changed, lifted.effects) == (True, (Effect("profiles", 1, Disposition.SHOWN),))
    assert getattr(User.objects.get(pk=person.pk), column) is None
    assert not off(person.pk).changed
    assert actions_and_outcomes() == [(action, outcome) for action in ACTIONS[column] for outcome in ("done", "unchanged")]


@SWITCHES
def test_switch__unknown_user(column: str, on: Any, off: Any, shelf: Shelf) -> None:
    for action in (on, off):
        with pytest.raises(UserFacingError, match="PostgreSQL has no user with the id"):
            action(uuid4())
    assert {outcome for _, outcome in actions_and_outcomes()} == {"failed"}


@SWITCHES
def test_switch__unavailable_store__is_done_and_reported(column: str, on: Any, off: Any, shelf: Shelf) -> None:
    person = full_life()
    shelf.reachable = False
    (found,) = on(person.pk).pending_stores
    assert (found.store, found.reason) == ("shelf", "The shelf is too high. Fetch a ladder.")
    assert getattr(User.objects.get(pk=person.pk), column) is not None


def test_store_that_is_no_projection__keeps_its_data(shelf: Shelf) -> None:
    shelf.is_projection = False  # type: ignore[misc]  # a class attribute
    person = full_life()
    shelf.ids.add(person.pk)
    for hide in (restrict, stop_matching, soft_delete):
        assert hide(person.pk).pending_stores == ()
    assert shelf.ids == {person.pk}


def test_restrict__only_copy_in_a_store__stays(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user has a right that the data stays (article 18). An objection and a soft deletion end that right."""
    person = full_life()
    shelf.ids.add(person.pk)
    monkeypatch.setattr(Shelf, "has_only_copy", lambda self, user_id: user_id in self.ids)
    monkeypatch.setattr(Shelf, "copy_command", "Copy it.")
    (found,) = restrict(person.pk).pending_stores
    assert found.reason == f"It has the only copy of data of {str(person.pk)!r}, which must stay. Copy it."
    assert shelf.ids == {person.pk}
    assert stop_matching(person.pk).pending_stores == ()
    assert shelf.ids == set()


def test_hidden_twice__is_hidden_until_both_are_undone(shelf: Shelf) -> None:
    person = full_life()
    restrict(person.pk)
    stop_matching(person.pk)
    shelf.ids.add(person.pk)
    assert preview_lifting(person.pk) == [Effect("profiles", 1, Disposition.HIDDEN)]
    assert lift_restriction(person.pk, informed_on=today()).effects == (Effect("profiles", 1, Disposition.HIDDEN),)
    assert User.objects.get(pk=person.pk).is_hidden
    resume_matching(person.pk)
    assert not User.objects.get(pk=person.pk).is_hidden


@pytest.mark.parametrize("days", [-1, 1])
def test_lift__user_informed_before_the_restriction_or_in_the_future__is_refused(days: int, shelf: Shelf) -> None:
    person = full_life()
    restrict(person.pk)
    day = today() + timedelta(days=days)
    with pytest.raises(UserFacingError, match=rf"nothing was changed\. .*article 18 \(3\)\)\. Correct the date {day}\.$"):
        lift_restriction(person.pk, informed_on=day)
    assert User.objects.get(pk=person.pk).restricted_at is not None
    lift_restriction(person.pk, informed_on=today())
    assert AuditEntry.objects.filter(informed_on__isnull=False).values_list("action", "informed_on").get() == ("lift_restriction", today())


def test_preview__equals_the_effects(shelf: Shelf) -> None:
    person = full_life()
    shelf.ids.add(person.pk)
    expected = preview_restriction(person.pk)
    assert restrict(person.pk).effects == tuple(expected)


@pytest.mark.parametrize("act", [erase, anonymize, soft_delete, lambda user_id: export_sections(user_id)])
def test_restricted_user__can_still_be_erased_anonymized_and_exported(act: Callable[[UUID], Any], shelf: Shelf) -> None:
    person = full_life()
    restrict(person.pk)
    stop_matching(person.pk)
    assert act(person.pk)


def test_export__has_both_times_and_the_day_of_the_information(shelf: Shelf) -> None:
    person = full_life()
    restrict(person.pk)
    stop_matching(person.pk)
    exported = export_sections(person.pk)["profile"]
    assert exported["restricted_at"] is not None and exported["objected_at"] is not None
    lift_restriction(person.pk, informed_on=today())
    assert [entry["informed_on"] for entry in export_sections(person.pk)["audit_log"] if entry["action"] == "lift_restriction"] == [today()]


def test_saved_object_that_was_read_before__lifts_nothing(shelf: Shelf) -> None:
    person = full_life()
    stale = User.objects.get(pk=person.pk)
    restrict(person.pk)
    stop_matching(person.pk)
    stale.full_name = "New"
    stale.save()
    found = User.objects.get(pk=person.pk)
    assert (found.full_name, found.restricted_at is None, found.objected_at is None) == ("New", False, False)
    found.objected_at = None
    found.save(update_fields=["objected_at"])
    assert User.objects.get(pk=person.pk).objected_at is None


def test_two_processes__one_restricts_once(shelf: Shelf) -> None:
    person = full_life()
    both = Barrier(4)

    def run(_number: int) -> Outcome:
        try:
            both.wait()
            return restrict(person.pk)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, range(4)))
    assert sorted(result.changed for result in results) == [False, False, False, True]
    assert ([entry.kind for entry in entries_of(person.pk)], pending()) == ([Kind.RESTRICT], [])


def test_lifted_before_the_removal__keeps_the_data_in_the_store(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process lifts the restriction between the commit and the removal: the user needs the point."""
    person = full_life()
    shelf.ids.add(person.pk)
    session = shelf.session

    def session_after_the_lifting() -> Any:
        User.objects.filter(pk=person.pk).update(restricted_at=None)
        return session()

    monkeypatch.setattr(shelf, "session", session_after_the_lifting)
    assert Effect("points in the shelf", 0, Disposition.DELETED) in restrict(person.pk).effects
    assert shelf.ids == {person.pk}


def test_lift__day_is_stored_as_given(shelf: Shelf) -> None:
    person = full_life()
    sql("UPDATE users SET restricted_at = '2026-01-05' WHERE id = %s", person.pk)
    lift_restriction(person.pk, informed_on=date(2026, 1, 7))
    assert AuditEntry.objects.get(action="lift_restriction").informed_on == date(2026, 1, 7)
