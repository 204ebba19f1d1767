"""``apply_retention`` that erases users is killed, again and again, and runs twice at once: it ends complete, and each erasure is recorded once."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from accounts.models import User
from findme.core.db.advisory_lock import AdvisoryLock
from findme.core.errors import UserFacingError
from privacy.actions.erase_many import another_process
from privacy.actions.pending import LOCK, process_pending
from privacy.ledger.entry import Kind
from privacy.ledger.keys import subject_keys
from privacy.ledger.outside import outside_ledger
from privacy.ledger.signing import verifying_keys
from privacy.ledger.verify import compare_ledgers
from privacy.models import AuditEntry, Erasure, LedgerEntry, PendingAction
from privacy.retention.apply import apply
from privacy.retention_policy import approve, current_policy
from tests.factories import UserFactory
from tests.privacy.forked import run_killed
from tests.privacy.retention.test_rules import ago
from tests.privacy.shelf import Folder, Shelf, install_shelf
from tests.support.seeds import kill_seeds
from tests.support.threads import in_thread
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shelf:
    """Replace Qdrant with a folder, which outlives a killed process."""
    found = install_shelf(monkeypatch)
    (tmp_path / "shelf").mkdir()
    found.ids = Folder(tmp_path / "shelf")
    return found


@pytest.fixture
def users(shelf: Shelf, settings: Settings) -> list[User]:
    """Return the users of the rule. Another user stays."""
    settings.RETENTION_RULES = {"hidden_users": 100}
    approve(current_policy(), current_policy().version)
    found = [UserFactory.create(created_at=ago(500), updated_at=ago(500), deleted_at=ago(200)) for _ in range(3)]
    process_pending()
    for user in [*found, UserFactory.create()]:
        shelf.ids.add(user.pk)
    return found


def run() -> None:
    list(apply(current_policy()))


def require_recorded(users: list[User]) -> None:
    """Check that no user is gone without an entry in both copies of the ledger."""
    keys = subject_keys()
    for user in users:
        if not User.objects.filter(pk=user.pk).exists():
            assert LedgerEntry.objects.filter(kind=Kind.ERASE, subject=keys.subject(user.pk)).count() == 1
    assert compare_ledgers(outside_ledger(), verifying_keys()).is_sound


def require_complete(users: list[User], shelf: Shelf) -> None:
    assert User.objects.count() == 1
    assert set(shelf.ids) == set(User.objects.values_list("pk", flat=True))
    assert not PendingAction.objects.exists()
    assert LedgerEntry.objects.filter(kind=Kind.ERASE).count() == len(users)
    assert AuditEntry.objects.filter(action="erase", outcome="done").count() == len(users)
    followed = [user for erasure in Erasure.objects.filter(state="erased") for user in erasure.user_ids or [erasure.user]]
    assert sorted(followed) == sorted(user.pk for user in users)
    require_recorded(users)


@pytest.mark.parametrize("seed", kill_seeds(5))
def test_apply__killed_over_and_over__ends_complete_and_recorded_once(seed: int, users: list[User], shelf: Shelf) -> None:
    chance = random.Random(seed)  # a fixed seed, no secret
    for _ in range(4):
        if not run_killed(run, chance.randrange(90)):
            break
        require_recorded(users)
    run()
    require_complete(users, shelf)


@pytest.mark.parametrize("seed", kill_seeds(1, 10))
def test_apply__killed__process_requests_completes_it(seed: int, users: list[User], shelf: Shelf) -> None:
    """The pending actions are there before anything is destroyed, also if the rule is switched off later."""
    chance = random.Random(100 + seed)  # a fixed seed, no secret
    run_killed(run, chance.randrange(25, 90))
    # PostgreSQL ends the session of the killed process, and with it the lock, a moment later.
    wait_until(lambda: not process_pending().is_busy)
    require_recorded(users)
    run()
    require_complete(users, shelf)


def test_apply__by_two_at_once__erases_each_user_once(users: list[User], shelf: Shelf) -> None:
    with in_thread(run) as other:
        run()
        other.result()
    run()
    require_complete(users, shelf)


def test_apply__while_another_process_completes_actions__is_refused(
    users: list[User], shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would report that nothing waits, although the other process may leave users."""
    monkeypatch.setattr("privacy.retention.apply.LOCK_SECONDS", 0.2)
    with closing(connection.copy()) as session, AdvisoryLock(session, LOCK).held(0, another_process):
        assert process_pending().is_busy
        with pytest.raises(UserFacingError, match="Another process completes privacy actions"):
            run()
    run()
    require_complete(users, shelf)
