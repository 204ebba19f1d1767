"""A batch of erasures by a rule of retention has one row in ``erasures``, and is followed until no byte is left."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import Error, connection, transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from privacy.actions import purging
from privacy.actions.erase_many import erase_many
from privacy.actions.erasures import IN_ONE_TRANSACTION, PURGING
from privacy.actions.holds import hold
from privacy.actions.purging import note_purge, purge_erased
from privacy.models import Erasure, ErasureStep, LedgerEntry
from privacy.models.holds import Article, Section
from privacy.registry import registry
from privacy.retention_policy import approve, current_policy
from tests.factories import UserFactory, VideoFactory
from tests.privacy.erasures.rows import insert_erasure, run
from tests.privacy.erasures.test_purging import age
from tests.privacy.retention.test_rules import DAYS, apply_rules, old_user
from tests.privacy.shelf import Shelf, install_shelf

pytestmark = pytest.mark.django_db(transaction=True)

APPROVAL = bytes(range(32))


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Replace Qdrant. All owners stay."""
    return install_shelf(monkeypatch)


def users(count: int) -> list[UUID]:
    return sorted(user.pk for user in UserFactory.create_batch(count))


def erased(count: int = 3) -> Erasure:
    assert erase_many(users(count), APPROVAL).erased == count
    return Erasure.objects.latest("sealed_at")


def test_batch__is_one_erasure_of_all_its_users(shelf: Shelf) -> None:
    user_ids = users(3)
    erase_many(user_ids, APPROVAL)
    erasure = Erasure.objects.get()
    assert (erasure.user_id, erasure.user_ids, erasure.state, erasure.plan) == (None, user_ids, "erased", {"deleted.users": 3})
    assert bytes(erasure.plan_digest) == APPROVAL
    assert erasure.ledger_position == LedgerEntry.objects.latest("position").pk == 3
    done = dict(ErasureStep.objects.filter(done_at__isnull=False).values_list("step", "count"))
    assert done == dict.fromkeys(("files", *IN_ONE_TRANSACTION), 0) | {"rows": 3}
    assert set(ErasureStep.objects.filter(done_at__isnull=True).values_list("step", flat=True)) == set(PURGING)


def test_rule__names_the_approved_rules(shelf: Shelf, settings: Settings) -> None:
    settings.RETENTION_RULES = {"hidden_users": DAYS}
    old_user(deleted_at=timezone.now() - timedelta(days=DAYS + 1))
    approve(current_policy(), current_policy().version)
    apply_rules()
    assert bytes(Erasure.objects.get().plan_digest) == current_policy().digest


def test_batch__is_purged_when_all_steps_are_done(shelf: Shelf, settings: Settings) -> None:
    settings.BACKUP_RETENTION_DAYS = 30
    erasure = erased()
    assert purge_erased() == 0
    note_purge(timezone.now() + timedelta(minutes=1), bytes_gone=True, snapshots_gone=True)
    age(31)
    assert purge_erased() == 1
    erasure.refresh_from_db()
    assert (erasure.state, erasure.purged_at is not None) == ("purged", True)


def test_scan__finds_a_user_of_the_batch(shelf: Shelf) -> None:
    erasure = erased()
    other = erased()
    shelf.loose.append((erasure.user_ids or [])[1])
    purge_erased()
    assert purging.found_again() == (erasure.pk,)
    assert ErasureStep.objects.get(erasure=other, step="scan").done_at is not None


def test_scan__of_many_users__leaves_the_rest_to_the_next_one(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "USERS_OF_SCAN", 3)
    erasures = [erased(2) for _ in range(3)]
    purge_erased()
    scans = ErasureStep.objects.filter(step="scan", done_at__isnull=True)
    assert [scan.erasure_id for scan in scans] == [erasures[2].pk]


def test_users_that_are_erased_one_by_one__are_in_no_batch(shelf: Shelf) -> None:
    """A hold fails the transaction of the batch. Each user then has a row of their own."""
    user_ids = users(2)
    VideoFactory.create(user_id=user_ids[0])
    hold(user_ids[0], Section.VIDEOS, Article.LEGAL_CLAIMS)
    assert erase_many(user_ids, APPROVAL).erased == 1
    assert {erasure.user_id for erasure in Erasure.objects.all()} == set(user_ids)


def test_export__has_the_batches_of_a_user_without_the_others(shelf: Shelf) -> None:
    erasure = erased()
    (owner,) = [owner for owner in registry.owners if owner.section == "erasure"]
    (user_id, *others) = erasure.user_ids or []
    found = owner.export(user_id)
    assert [one["erased_at"] for one in found["erasures"]] == [erasure.erased_at]  # type: ignore[index]  # a mapping
    assert not any(str(other) in str(found) for other in others)


@pytest.mark.parametrize(
    "columns",
    [
        {"user_id": None},
        {"user_id": None, "user_ids": []},
        {"user_ids": [uuid4()]},
        {"user_id": None, "user_ids": [uuid4()], "hid_user": True},
    ],
    ids=["no user", "empty batch", "user and batch", "hidden"],
)
def test_row__of_one_user_or_of_a_batch(columns: dict[str, Any]) -> None:
    with pytest.raises(Error, match="erasures_users_check"):
        insert_erasure(**columns)


def test_row__its_users_never_change() -> None:
    insert_erasure(user_id=None, user_ids=[uuid4()])
    with pytest.raises(Error, match="user_ids cannot be changed in this step"):
        run("UPDATE erasures SET user_ids = ARRAY[%s::uuid]", uuid4())


def test_index__finds_the_batches_of_a_user() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN SELECT FROM erasures WHERE user_id = %s OR user_ids @> ARRAY[%s::uuid]", [uuid4(), uuid4()])
        assert "erasures_user_ids_idx" in "".join(line for (line,) in cursor.fetchall())
