"""Rules of retention: what each takes, and that nothing goes without an approval of the current version."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from accounts.models import User
from calls.models import VideoCall
from matching.models import Match
from privacy.actions.holds import hold, release
from privacy.actions.pending import process_pending
from privacy.declarations import Category
from privacy.ledger.entry import Kind
from privacy.models import AuditEntry, LedgerEntry, PendingAction, RetentionApproval
from privacy.models.holds import Article, Section
from privacy.registry import registry
from privacy.retention import apply
from privacy.retention_policy import Policy, current_policy
from privacy.retention_rules import RetentionRule, RowRule
from tests.factories import MatchFactory, ProfileEmbeddingFactory, UserFactory, VideoCallFactory, VideoFactory
from tests.privacy.audit import audited
from tests.privacy.requests.rows import insert
from tests.privacy.shelf import Shelf, install_shelf
from tests.support.commands import manage_here
from vectorstore.models import ProfileEmbedding

pytestmark = pytest.mark.django_db(transaction=True)

DAYS = 100


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Replace Qdrant. All owners stay, because the command runs the system checks."""
    return install_shelf(monkeypatch)


def ago(days: float) -> Any:
    return timezone.now() - timedelta(days=days)


def old_user(**values: Any) -> User:
    return UserFactory.create(**{"created_at": ago(500), "updated_at": ago(500), "last_login": ago(500)} | values)


def approve_current() -> str:
    version = current_policy().version
    code, out, err = manage_here("apply_retention", "--approve", version)
    assert (code, out, err) == (0, f"Version {version} of the rules is approved.\n", "")
    return version


def apply_rules() -> list[dict[str, Any]]:
    code, out, err = manage_here("apply_retention", "--json")
    assert (code, err) == (0, ""), (out, err)
    rules: list[dict[str, Any]] = json.loads(out)["rules"]
    return rules


def previewed() -> list[dict[str, Any]]:
    code, out, err = manage_here("apply_retention", "--dry-run", "--json")
    assert (code, err) == (0, ""), (out, err)
    rules: list[dict[str, Any]] = json.loads(out)["rules"]
    return rules


def counts() -> dict[str, int]:
    return {rule["name"]: rule["count"] for rule in apply_rules()}


# --- Approval ----------------------------------------------------------------------------------------------------------------------


def test_without_rules__the_sections_go_without_an_approval(shelf: Shelf) -> None:
    AuditEntry.objects.create(action="export", target_id=UUID(int=1), actor_id=UUID(int=2), outcome="done", recorded_at=ago(2000))
    assert manage_here("apply_retention") == (
        0,
        "log_ins: 0 rows older than 30 days deleted.\nexports: 0 rows older than 30 days deleted.\naudit_log: 1 row older than 1095 days deleted.\n",
        "",
    )
    code, _, err = manage_here("apply_retention", "--approve", "x")
    assert (code, err) == (2, "No rule is switched on: nothing was approved. Set RETENTION_RULES, then review it with --dry-run.\n")


def test_rules__without_approval__only_the_sections_go(shelf: Shelf, settings: Settings) -> None:
    settings.RETENTION_RULES = {"matches": DAYS}
    AuditEntry.objects.create(action="export", target_id=UUID(int=1), actor_id=UUID(int=2), outcome="done", recorded_at=ago(2000))
    MatchFactory.create(created_at=ago(DAYS + 1))
    version = current_policy().version
    code, out, err = manage_here("apply_retention")
    assert code == 2
    assert out.splitlines()[-1] == "audit_log: 1 row older than 1095 days deleted."
    assert err == (
        f"Version {version} of the rules in RETENTION_RULES is not approved: they deleted nothing. Review it with"
        f" manage.py apply_retention --dry-run, then run manage.py apply_retention --approve {version}.\n"
    )
    assert Match.objects.count() == 1
    code, out, err = manage_here("apply_retention", "--dry-run")
    assert (code, out.splitlines()[-2:], err) == (
        0,
        [
            f"matches: 1 matches without a call would be deleted, {DAYS} days after their creation.",
            f"Version {version} of the rules is not approved. Run manage.py apply_retention --approve {version}.",
        ],
        "",
    )
    assert Match.objects.count() == 1
    assert not RetentionApproval.objects.exists()


def test_rules__approved__apply_until_they_change(shelf: Shelf, settings: Settings) -> None:
    settings.RETENTION_RULES = {"matches": DAYS}
    MatchFactory.create(created_at=ago(DAYS + 1))
    young = MatchFactory.create(created_at=ago(DAYS - 1))
    version = approve_current()
    ((action, account, target, outcome),) = audited()
    assert (action, target, outcome) == ("approve_retention", "", "done")
    assert account
    assert manage_here("apply_retention", "--approve", version)[1] == f"Version {version} of the rules was approved already.\n"
    assert (len(audited()), counts(), list(Match.objects.all())) == (1, {"matches": 1}, [young])
    settings.RETENTION_RULES = {"matches": DAYS - 2}
    assert manage_here("apply_retention")[0] == 2
    assert Match.objects.count() == 1
    settings.RETENTION_RULES = {"matches": DAYS}
    assert counts() == {"matches": 0}


def test_approve__another_version__is_refused(shelf: Shelf, settings: Settings) -> None:
    settings.RETENTION_RULES = {"matches": DAYS}
    old = current_policy().version
    settings.RETENTION_RULES = {"matches": DAYS, "calls": DAYS}
    code, _, err = manage_here("apply_retention", "--approve", old)
    assert code == 2
    assert err.startswith(f"'{old}' is not the version of the current rules: nothing was approved.")
    assert not RetentionApproval.objects.exists()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"match": 5}, "RETENTION_RULES has 'match': nothing was changed. The rules are call_recordings, calls,"),
        ({"ledger": 1094}, "RETENTION_RULES has ledger=1094: nothing was changed. This rule needs at least 1095 days."),
        (
            {"calls": 99, "inactive_users": 100},
            "RETENTION_RULES has calls=99 and inactive_users=100: nothing was changed. The calls show which users are active, so keep them for",
        ),
        ({"ledger": 1999}, "RETENTION_RULES has ledger=1999: nothing was changed. This rule needs at least 2000 days."),
    ],
)
def test_wrong_rules__change_nothing(rules: dict[str, int], message: str, shelf: Shelf, settings: Settings) -> None:
    settings.RETENTION_RULES = rules
    settings.BACKUP_RETENTION_DAYS = 2000 if "ledger=1999" in message else 0
    AuditEntry.objects.create(action="export", target_id=UUID(int=1), actor_id=UUID(int=2), outcome="done", recorded_at=ago(2000))
    for arguments in ([], ["--dry-run"], ["--approve", "x"]):
        code, out, err = manage_here("apply_retention", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith(message)
    assert AuditEntry.objects.count() == 1


NAMES = sorted(rule.name for owner in registry.owners for rule in owner.retention_rules)
policies = st.dictionaries(st.sampled_from(NAMES), st.integers(1095, 5000), max_size=4).filter(
    lambda rules: rules.get("calls", 5000) >= rules.get("inactive_users", 0)
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policies, policies)
def test_version__is_the_same_for_the_same_rules_only(settings: Settings, first: dict[str, int], second: dict[str, int]) -> None:
    settings.RETENTION_RULES = first
    one = current_policy()
    settings.RETENTION_RULES = dict(reversed(second.items()))
    assert (one.digest == current_policy().digest) == (first == second)


def test_version__depends_on_the_revision_of_a_rule() -> None:
    from dataclasses import replace

    rule: RetentionRule = next(rule for owner in registry.owners for rule in owner.retention_rules)
    assert Policy(((rule, 5),)).digest != Policy(((replace(rule, revision=2), 5),)).digest


# --- The rules ---------------------------------------------------------------------------------------------------------------------


def test_names__are_different() -> None:
    assert len(NAMES) == len(set(NAMES))
    assert NAMES == ["call_recordings", "calls", "deactivated_embeddings", "hidden_users", "inactive_users", "ledger", "matches"]


def test_matches__with_a_call__stay(shelf: Shelf, settings: Settings) -> None:
    settings.RETENTION_RULES = {"matches": DAYS}
    called = MatchFactory.create(created_at=ago(DAYS + 1))
    VideoCallFactory.create(match=called)
    MatchFactory.create(created_at=ago(DAYS + 1))
    approve_current()
    assert (counts(), list(Match.objects.all())) == ({"matches": 1}, [called])


def test_calls__and_recordings(shelf: Shelf, settings: Settings) -> None:
    settings.RETENTION_RULES = {"calls": 2 * DAYS, "call_recordings": DAYS}
    VideoCallFactory.create(created_at=ago(2 * DAYS + 1))
    old = VideoCallFactory.create(created_at=ago(DAYS + 1), recording_url="https://calls/1", metadata={"a": 1})
    young = VideoCallFactory.create(created_at=ago(DAYS - 1), recording_url="https://calls/2", metadata={"a": 1})
    approve_current()
    assert counts()["calls"] == 1
    assert set(VideoCall.objects.values_list("pk", "recording_url")) == {(old.pk, None), (young.pk, "https://calls/2")}
    assert VideoCall.objects.get(pk=old.pk).metadata == {}
    assert counts() == {"calls": 0, "call_recordings": 0}


@pytest.mark.parametrize("rule", ["calls", "call_recordings"])
def test_recordings__in_a_store__are_deleted_before_their_addresses(rule: str, shelf: Shelf, settings: Settings, tmp_path: Path) -> None:
    """Afterwards nothing leads to the file, so no erasure could delete it any more."""
    settings.RETENTION_RULES = {rule: DAYS}
    settings.FILE_STORES = {"https://calls.example/": str(tmp_path / "store")}
    for name in ("old", "young"):
        VideoCallFactory.create(
            created_at=ago(DAYS + 1 if name == "old" else DAYS - 1), recording_url=f"https://calls.example/{name}.webm", metadata={}
        )
    VideoCallFactory.create(created_at=ago(DAYS + 1), recording_url="https://elsewhere.example/1.webm")
    approve_current()
    code, _, err = manage_here("apply_retention")
    assert (code, VideoCall.objects.exclude(recording_url=None).count()) == (2, 3)
    assert "cannot be reached" in err
    (tmp_path / "store").mkdir()
    for name in ("old", "young"):
        (tmp_path / "store" / f"{name}.webm").write_bytes(b"film")
    assert counts() == {rule: 2}
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["young.webm"]
    assert [call.recording_url for call in VideoCall.objects.exclude(recording_url=None)] == ["https://calls.example/young.webm"]


def test_embeddings__of_deactivated_users(shelf: Shelf, settings: Settings) -> None:
    settings.RETENTION_RULES = {"deactivated_embeddings": DAYS}
    old = {"created_at": ago(500), "updated_at": ago(DAYS + 1)}
    kept = [
        ProfileEmbeddingFactory.create(user=old_user(), **old),
        ProfileEmbeddingFactory.create(user=old_user(active=False, updated_at=ago(DAYS - 1)), **old),
        ProfileEmbeddingFactory.create(user=old_user(active=False)),
    ]
    ProfileEmbeddingFactory.create(user=old_user(active=False), **old)
    approve_current()
    assert counts() == {"deactivated_embeddings": 1}
    assert set(ProfileEmbedding.objects.values_list("pk", flat=True)) == {one.pk for one in kept}


def erased_by(rule: str, settings: Settings) -> set[UUID]:
    settings.RETENTION_RULES = {rule: DAYS}
    before = set(User.objects.values_list("pk", flat=True))
    approve_current()
    _, out, _ = manage_here("apply_retention", "--dry-run", "--json")
    planned = json.loads(out)["rules"][0]["count"]
    assert counts() == {rule: planned}
    gone = before - set(User.objects.values_list("pk", flat=True))
    assert planned == len(gone)
    return gone


def test_hidden_users__are_erased_in_both_stores_and_recorded_once(shelf: Shelf, settings: Settings) -> None:
    hidden = [old_user(deleted_at=ago(DAYS + 1)) for _ in range(3)]
    kept = [
        old_user(),
        old_user(deleted_at=ago(DAYS - 1)),
        old_user(deleted_at=ago(DAYS + 1), is_staff=True),
        UserFactory.create(anonymized=True, deleted_at=ago(DAYS + 1)),
        old_user(deleted_at=ago(DAYS + 1)),
    ]
    insert(user_id=kept[-1].pk)
    process_pending()
    shelf.ids |= {user.pk for user in [*hidden, *kept]}
    assert erased_by("hidden_users", settings) == {user.pk for user in hidden}
    assert shelf.ids == {user.pk for user in kept}
    assert LedgerEntry.objects.filter(kind=Kind.ERASE).count() == 3
    assert not PendingAction.objects.exists()
    erased = {target for action, _, target, outcome in audited() if (action, outcome) == ("erase", "done")}
    assert erased == {user.pk for user in hidden}


@pytest.mark.parametrize(
    "recent",
    [{"last_login": None}, {"last_login": ago(1)}, {"updated_at": ago(1)}, {"created_at": ago(1)}],
    ids=["no login known", "login", "change", "new"],
)
def test_inactive_users__with_a_recent_sign_of_life__stay(recent: dict[str, Any], shelf: Shelf, settings: Settings) -> None:
    old_user(**recent)
    inactive = old_user()
    assert erased_by("inactive_users", settings) == {inactive.pk}


def test_inactive_users__with_a_recent_call__stay(shelf: Shelf, settings: Settings) -> None:
    caller, callee, inactive = old_user(), old_user(), old_user()
    VideoCallFactory.create(match=MatchFactory.create(user=caller, matched_user=callee), caller=callee, callee=caller)
    assert erased_by("inactive_users", settings) == {inactive.pk}


def test_held_data__stays_until_the_release(shelf: Shelf, settings: Settings) -> None:
    settings.RETENTION_RULES = {"hidden_users": DAYS, "matches": DAYS, "calls": DAYS, "call_recordings": DAYS}
    holder, other = old_user(deleted_at=ago(DAYS + 1)), old_user(deleted_at=ago(DAYS + 1))
    match = MatchFactory.create(user=holder, matched_user=other, created_at=ago(DAYS + 1))
    VideoCallFactory.create(match=match, caller=holder, callee=other, created_at=ago(DAYS + 1), recording_url="https://calls/1")
    process_pending()
    holds = [hold(holder.pk, section, Article.LEGAL_CLAIMS) for section in (Section.MATCHES, Section.CALLS)]
    approve_current()
    assert json.loads(manage_here("apply_retention", "--dry-run", "--json")[1])["rules"][3]["count"] == 0
    assert counts() == dict.fromkeys(settings.RETENTION_RULES, 0)
    assert VideoCall.objects.get().recording_url == "https://calls/1"
    for one in holds:
        release(one.pk)
    assert counts() == {"call_recordings": 1, "calls": 1, "hidden_users": 2, "matches": 0}
    assert not LedgerEntry.objects.filter(kind=Kind.UNDO_ERASE).exists()


@pytest.mark.parametrize("staying", [set(), {0}, {2, 3}, {4, 5, 6}, set(range(7))], ids=str)
def test_users_that_stay__do_not_keep_the_others_in_batches(
    staying: set[int], shelf: Shelf, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply, "IDS", 4)
    monkeypatch.setattr(apply, "BATCH_SIZE", 2)
    settings.RETENTION_RULES = {"hidden_users": DAYS}
    users = sorted(old_user(deleted_at=ago(DAYS + 1)).pk for _ in range(7))
    process_pending()
    held = {users[index] for index in staying}
    for user_id in held:
        hold(user_id, Section.MATCHES, Article.LEGAL_CLAIMS)
    approve_current()
    assert counts() == {"hidden_users": 7 - len(held)}
    assert set(User._base_manager.values_list("pk", flat=True)) == held


def test_restricted_users__and_their_rows_stay(shelf: Shelf, settings: Settings) -> None:
    """A user can ask for a restriction so that data stay, for example for a legal claim (GDPR, article 18 (1) (b) and (c))."""
    settings.RETENTION_RULES = dict.fromkeys([name for name in NAMES if name != "ledger"], DAYS)
    restricted, other = old_user(restricted_at=ago(1), deleted_at=ago(DAYS + 1), active=False), UserFactory.create()
    ProfileEmbeddingFactory.create(user=restricted, created_at=ago(500), updated_at=ago(500))
    MatchFactory.create(user=restricted, matched_user=other, week_number=1, created_at=ago(500))
    MatchFactory.create(user=other, matched_user=restricted, week_number=2, created_at=ago(500))
    match = MatchFactory.create(user=restricted, matched_user=other, week_number=3, created_at=ago(500))
    VideoCallFactory.create(match=match, caller=restricted, callee=other, created_at=ago(500), recording_url="https://calls/1")
    VideoCallFactory.create(match=match, caller=other, callee=restricted, created_at=ago(500), recording_url="https://calls/2")
    process_pending()
    approve_current()
    assert sum(rule["count"] for rule in previewed()) == 0
    assert counts() == dict.fromkeys(settings.RETENTION_RULES, 0)
    assert (User.objects.count(), Match.objects.count(), ProfileEmbedding.objects.count()) == (2, 3, 1)
    assert set(VideoCall.objects.values_list("recording_url", flat=True)) == {"https://calls/1", "https://calls/2"}
    User.objects.filter(pk=restricted.pk).update(restricted_at=None, updated_at=ago(500))
    assert counts() == {
        "call_recordings": 2,
        "calls": 2,
        "matches": 2,
        "deactivated_embeddings": 0,
        "hidden_users": 1,
        "inactive_users": 0,
    }


def test_preview__counts_what_is_deleted_then(shelf: Shelf, settings: Settings) -> None:
    """A rule changes what others take: a match without its call, an embedding without its user, a user of two rules."""
    settings.RETENTION_RULES = dict.fromkeys([name for name in NAMES if name != "ledger"], DAYS)
    user, other = old_user(deleted_at=ago(DAYS + 1), active=False), UserFactory.create()
    old_user()
    ProfileEmbeddingFactory.create(user=user, created_at=ago(500), updated_at=ago(500))
    match = MatchFactory.create(user=user, matched_user=other, created_at=ago(500))
    VideoCallFactory.create(match=match, caller=user, callee=other, created_at=ago(500), recording_url="https://calls/1")
    MatchFactory.create(user=user, matched_user=other, week_number=1, created_at=ago(500))
    process_pending()
    approve_current()
    planned = {rule["name"]: rule["count"] for rule in previewed()}
    assert planned == {
        "call_recordings": 1,
        "calls": 1,
        "matches": 1,
        "deactivated_embeddings": 1,
        "hidden_users": 1,
        "inactive_users": 1,
    }
    assert counts() == planned


def test_match__called_just_before_the_lock__stays() -> None:
    """The statement that finds the matches sees none of the calls that are committed while it runs."""
    called, other = MatchFactory.create(), MatchFactory.create()
    answers = iter([Match.objects.all(), Match.objects.filter(calls__isnull=True), Match.objects.none()])
    VideoCallFactory.create(match=called)
    rule = RowRule(name="matches", what="", since="", category=Category.MATCHES, expired=lambda _before: next(answers))
    assert rule.apply(DAYS) == 1
    assert list(Match.objects.all()) == [called] != [other]


def test_users_with_files__are_erased_with_their_files(shelf: Shelf, settings: Settings, tmp_path: Path) -> None:
    settings.FILE_STORES = {"https://films.example.com/": str(tmp_path)}
    with_file, other = old_user(deleted_at=ago(DAYS + 1)), old_user(deleted_at=ago(DAYS + 1))
    (tmp_path / "1.mp4").write_bytes(b"film")
    VideoFactory.create(user=with_file, storage_url="https://films.example.com/1.mp4")
    process_pending()
    assert erased_by("hidden_users", settings) == {with_file.pk, other.pk}
    assert list(tmp_path.iterdir()) == []
    assert LedgerEntry.objects.filter(kind=Kind.ERASE).count() == 2


def test_ledger__is_a_rule(shelf: Shelf, settings: Settings) -> None:
    from tests.privacy.ledger.aged import YEARS, add_entries

    settings.RETENTION_RULES = {"ledger": 1095}
    add_entries(3, YEARS)
    approve_current()
    assert (counts(), LedgerEntry.objects.count()) == ({"ledger": 3}, 0)


@pytest.mark.parametrize(
    "break_it", [lambda shelf: setattr(shelf, "reachable", False), lambda shelf: setattr(shelf, "after_removal", shelf.fail)]
)
def test_unavailable_store__destroys_nothing_and_is_completed_later(
    break_it: Callable[[Shelf], None], shelf: Shelf, settings: Settings
) -> None:
    settings.RETENTION_RULES = {"hidden_users": DAYS}
    users = [old_user(deleted_at=ago(DAYS + 1)) for _ in range(2)]
    process_pending()
    shelf.ids |= {user.pk for user in users}
    approve_current()
    break_it(shelf)
    code, _, _ = manage_here("apply_retention")
    assert code in {1, 2}
    assert User.objects.count() == 2
    shelf.reachable, shelf.after_removal = True, lambda: None
    apply_rules()
    assert (User.objects.count(), shelf.ids, PendingAction.objects.count()) == (0, set(), 0)
    assert LedgerEntry.objects.filter(kind=Kind.ERASE).count() == 2


def test_pending_erasure_that_must_wait__does_not_keep_the_others(
    shelf: Shelf, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason can last, for example a table of another program that refers to the user."""
    from tests.support.sessions import another_connection

    monkeypatch.setattr("privacy.actions.locking.LOCK_SECONDS", 1)
    settings.RETENTION_RULES = {"hidden_users": DAYS}
    stuck, _ = (old_user(deleted_at=ago(DAYS + 1)) for _ in range(2))
    process_pending()
    PendingAction.objects.create(user_id=stuck.pk, kind=Kind.ERASE)
    approve_current()
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN; SELECT FROM users WHERE id = %s FOR UPDATE", [stuck.pk])
        code, out, _ = manage_here("apply_retention")
        cursor.execute("ROLLBACK")
    assert (code, out.splitlines()[-2:]) == (
        1,
        [
            f"hidden_users: 1 softly deleted users erased, {DAYS} days after the deletion.",
            "hidden_users: 1 user must wait. manage.py process_requests completes them.",
        ],
    )
    assert list(User.objects.all()) == [stuck]


def test_user_with_a_lock_of_another_transaction__waits_and_the_others_are_erased(
    shelf: Shelf, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.sessions import another_connection

    monkeypatch.setattr("privacy.actions.locking.LOCK_SECONDS", 1)
    settings.RETENTION_RULES = {"hidden_users": DAYS}
    held, _, _ = (old_user(deleted_at=ago(DAYS + 1)) for _ in range(3))
    process_pending()
    approve_current()
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN; SELECT FROM users WHERE id = %s FOR UPDATE", [held.pk])
        code, out, _ = manage_here("apply_retention")
        assert code == 1
        assert out.splitlines()[-1] == "hidden_users: 1 user must wait. manage.py process_requests completes them."
        cursor.execute("ROLLBACK")
    assert list(User.objects.all()) == [held]
    assert process_pending().completed == 1
    assert (User.objects.count(), LedgerEntry.objects.filter(kind=Kind.ERASE).count()) == (0, 3)
