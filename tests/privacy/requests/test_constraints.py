"""Each rule of the two tables rejects a row that violates it, in plain SQL, and accepts a permitted twin."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction

from privacy.local_dates import today
from privacy.models import DataSubjectRequest, RequestRecipient
from privacy.models.request_choices import GROUNDS, WITHOUT_IDENTITY, Ground, Kind, State
from privacy.requests.deadlines import due_date
from tests.privacy.requests.rows import RECEIVED, columns_of, insert, request_in, update

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
DUE = due_date(RECEIVED, closed=())
OTHER = UUID(int=7)


def rule_of(action: Callable[[], Any]) -> str | None:
    """Return the name of the rule that the database enforces against the action, or None if it accepts it."""
    try:
        with transaction.atomic():
            action()
    except IntegrityError as error:
        cause = error.__cause__
        assert isinstance(cause, psycopg.Error)
        assert cause.sqlstate in ("23514", "23001", "23505", "23502")
        return cause.diag.constraint_name or cause.diag.column_name or cause.diag.message_primary
    return None


@pytest.mark.parametrize(
    ("rule", "broken", "permitted"),
    [
        ("kind", {"kind": "portrait"}, {"kind": "portability"}),
        ("recorded_by", {"recorded_by_id": UUID(int=1)}, {"recorded_by_id": UUID(int=1), "recorded_by_account": ""}),
        ("recorded_by", {"recorded_by_account": ""}, {"recorded_by_account": "ann"}),
        ("contact", {"contact": "a\nb"}, {"contact": "Lindenstraße 1, 10969 Berlin"}),
        ("contact", {"contact": ""}, {"contact": None}),
        ("processing", {"processing": "marketing"}, {"kind": "objection", "processing": "marketing"}),
        ("processing", {"kind": "objection"}, {"kind": "consent_withdrawal", "processing": "embedding"}),
        ("processing", {"kind": "objection", "processing": "ann@example.com"}, {"kind": "objection", "processing": "statistics"}),
        ("step", {"user_id": None}, {"user_id": None, "contact": "ann@example.com"}),
        ("step", {"kind": "erasure"}, {"kind": "erasure", "contact": "ann@example.com"}),
        ("step", {"due_on": DUE - DAY}, {"due_on": DUE}),
        ("step", {"due_on": DUE + 12 * DAY}, {"due_on": DUE}),
        ("step", {"due_on": DUE, "first_due_on": DUE - DAY}, {}),
        ("step", {"due_on": DUE, "first_due_on": DUE + DAY}, {}),
        ("step", {"due_on": "infinity"}, {"due_on": DUE}),
        ("step", {"received_on": "infinity", "due_on": "infinity"}, {}),
        ("step", {"received_on": "-infinity", "due_on": "-infinity"}, {}),
        ("step", {"received_on": "2999-01-01", "due_on": "2999-02-01"}, {}),
        ("step", {"extension_informed_on": RECEIVED, "extension_reason": "number"}, {}),
        ("step", {"stopped_on": RECEIVED}, {}),
        ("state_columns", {"identity_asked_on": RECEIVED}, {}),
        ("approval", {"approved_at": RECEIVED}, {}),
        ("approval", {"approved_by_account": "bob"}, {}),
        ("closed_on", {"closed_on": RECEIVED}, {}),
        ("refusal", {"refusal_ground": "12_5_unfounded"}, {}),
        ("refusal", {"informed_of_remedies": True}, {}),
        ("withdrawal", {"withdrawal_reason": "mistake"}, {}),
        ("identity", {"identity_method": "login"}, {}),
        ("identity", {"identity_confirmed_by_account": "ann"}, {}),
        ("extension", {"extension_reason": "number"}, {}),
        ("recorded_at_range", {"recorded_at": "infinity"}, {}),
    ],
)
def test_insert__each_rule(rule: str, broken: dict[str, Any], permitted: dict[str, Any]) -> None:
    assert rule_of(lambda: insert(**broken)) == f"data_subject_requests_{rule}_check"
    assert rule_of(lambda: insert(**permitted)) is None


def test_due_on__never_on_a_weekend() -> None:
    first = date(2026, 1, 1)
    for received_on in (first + n * DAY for n in range(60)):
        due_on = due_date(received_on, closed=())
        for later in range(8):
            accepted = rule_of(lambda day=received_on, due=due_on + later * DAY: insert(received_on=day, due_on=due)) is None  # type: ignore[misc]
            assert accepted == ((due_on + later * DAY).isoweekday() < 6)


@pytest.mark.parametrize(
    ("before", "rule", "broken", "permitted"),
    [
        (State.RECEIVED, "step", {"kind": "erasure"}, {"kind": "access"}),
        (State.RECEIVED, "step", {"received_on": RECEIVED - DAY}, {}),
        (State.RECEIVED, "step", {"due_on": DUE + DAY}, {}),
        (State.RECEIVED, "step", {"recorded_by_account": "bob"}, {}),
        (State.RECEIVED, "step", {"user_id": OTHER}, {}),
        (State.RECEIVED, "step", {"recorded_at": RECEIVED}, {}),
        (State.RECEIVED, "step", {"id": OTHER}, {}),
        (State.RECEIVED, "step", columns_of(State.IDENTITY_ASKED) | {"identity_asked_on": DUE + DAY}, columns_of(State.IDENTITY_ASKED)),
        (State.RECEIVED, "order", columns_of(State.IDENTITY_ASKED) | {"identity_asked_on": RECEIVED - DAY}, {}),
        (State.RECEIVED, "state_columns", {"state": "identity_asked"}, {}),
        (State.RECEIVED, "state_columns", {"state": "identified"}, columns_of(State.IDENTIFIED)),
        (State.RECEIVED, "identity", columns_of(State.IDENTIFIED) | {"identity_method": "copy"}, {}),
        (State.RECEIVED, "step", columns_of(State.IDENTIFIED) | {"user_id": OTHER}, {}),
        (State.RECEIVED, "refusal", columns_of(State.REFUSED) | {"informed_of_remedies": False}, columns_of(State.REFUSED)),
        (State.RECEIVED, "refusal", columns_of(State.REFUSED) | {"refusal_ground": ""}, {}),
        (State.RECEIVED, "ground", columns_of(State.REFUSED) | {"refusal_ground": "17_3_e"}, {}),
        (State.RECEIVED, "ground_identity", columns_of(State.REFUSED) | {"refusal_ground": "15_4"}, {}),
        (State.RECEIVED, "ground_identity", columns_of(State.REFUSED) | {"refusal_ground": "12_2"}, {}),
        (State.RECEIVED, "closed_on", {"state": "withdrawn", "withdrawal_reason": "mistake"}, columns_of(State.WITHDRAWN)),
        (State.RECEIVED, "withdrawal", columns_of(State.WITHDRAWN) | {"withdrawal_reason": "moved away"}, {}),
        (State.RECEIVED, "order", columns_of(State.WITHDRAWN) | {"closed_on": RECEIVED - DAY}, {}),
        (State.RECEIVED, "step", {"contact": None, "stopped_on": RECEIVED}, {"contact": "ann@example.com"}),
        (
            State.RECEIVED,
            "step",
            {"extension_informed_on": DUE + DAY, "extension_reason": "number", "due_on": due_date(RECEIVED, is_extended=True, closed=())},
            {"extension_informed_on": RECEIVED, "extension_reason": "number", "due_on": due_date(RECEIVED, is_extended=True, closed=())},
        ),
        (State.RECEIVED, "step", {"extension_informed_on": RECEIVED, "extension_reason": "number"}, {}),
        (State.IDENTITY_ASKED, "order", columns_of(State.IDENTIFIED) | {"identity_confirmed_on": RECEIVED}, columns_of(State.IDENTIFIED)),
        (State.IDENTITY_ASKED, "step", {"identity_asked_on": RECEIVED + 2 * DAY}, columns_of(State.REFUSED) | {"refusal_ground": "12_2"}),
        (State.IDENTIFIED, "step", {"identity_method": "in_person"}, columns_of(State.REFUSED) | {"refusal_ground": "15_4"}),
        (State.IDENTIFIED, "ground_identity", columns_of(State.REFUSED) | {"refusal_ground": "12_2"}, {}),
        (State.IDENTIFIED, "approver", columns_of(State.APPROVED) | {"approved_by_account": "ann"}, columns_of(State.APPROVED)),
        (State.IDENTIFIED, "state_columns", {"state": "approved"}, {}),
        (State.APPROVED, "step", {"approved_by_account": "cem"}, columns_of(State.ANSWERED)),
        (State.APPROVED, "processing", {"stopped_on": RECEIVED + DAY}, {}),
        (State.ANSWERED, "step", {"closed_on": RECEIVED + 2 * DAY}, {"contact": None}),
        (State.ANSWERED, "step", {"contact": "bob@example.com"}, {}),
        (State.REFUSED, "step", {"refusal_ground": "12_2"}, {"contact": None}),
        (State.WITHDRAWN, "step", {"withdrawal_reason": "mistake"}, {"contact": None}),
    ],
)
def test_update__each_rule(before: State, rule: str, broken: dict[str, Any], permitted: dict[str, Any]) -> None:
    request_id = request_in(before, contact="ann@example.org")
    assert rule_of(lambda: update(request_id, **broken)) == f"data_subject_requests_{rule}_check"
    if permitted:
        assert rule_of(lambda: update(request_id, **permitted)) is None


def test_user_id__is_set_once_when_the_identity_is_confirmed() -> None:
    request_id = insert(user_id=None, contact="ann@example.com")
    assert rule_of(lambda: update(request_id, user_id=uuid4())) == "data_subject_requests_step_check"
    assert rule_of(lambda: update(request_id, **columns_of(State.IDENTIFIED), user_id=uuid4())) is None


@pytest.mark.parametrize(("actor", "is_accepted"), [("recorder", False), ("person", False), ("another", True)])
def test_approver__is_neither_the_recorder_nor_the_data_subject(actor: str, is_accepted: bool) -> None:
    recorder, person = uuid4(), uuid4()
    request_id = request_in(State.IDENTIFIED, recorded_by_id=recorder, recorded_by_account="", user_id=person)
    approver = {"recorder": recorder, "person": person, "another": uuid4()}[actor]
    step = {"state": "approved", "approved_at": RECEIVED, "approved_by_id": approver}
    assert rule_of(lambda: update(request_id, **step)) == (None if is_accepted else "data_subject_requests_approver_check")


@pytest.mark.parametrize("kind", Kind)
def test_grounds__of_each_kind(kind: Kind) -> None:
    processing = "embedding" if kind in (Kind.OBJECTION, Kind.CONSENT_WITHDRAWAL) else ""
    for ground in Ground:
        state = State.IDENTITY_ASKED if ground == Ground.NOT_IDENTIFIED else State.IDENTIFIED
        request_id = request_in(state, kind=kind.value, processing=processing, contact="a@example.com")
        rule = rule_of(lambda one=ground, key=request_id: update(key, **columns_of(State.REFUSED) | {"refusal_ground": one.value}))  # type: ignore[misc]
        assert rule == (None if ground in GROUNDS[kind] else "data_subject_requests_ground_check"), ground
    assert set(GROUNDS) == set(Kind) and set(Ground) >= WITHOUT_IDENTITY


def test_ground__marketing_cannot_be_justified() -> None:
    for ground, is_accepted in (("21_1", False), ("21_6", False), ("12_5_unfounded", True)):
        request_id = request_in(State.IDENTIFIED, kind="objection", processing="marketing")
        rule = rule_of(lambda one=ground, key=request_id: update(key, **columns_of(State.REFUSED) | {"refusal_ground": one}))  # type: ignore[misc]
        assert rule == (None if is_accepted else "data_subject_requests_ground_check")


def test_consent_withdrawal__has_no_extension() -> None:
    request_id = insert(kind="consent_withdrawal", processing="embedding")
    extension = {
        "extension_informed_on": RECEIVED,
        "extension_reason": "number",
        "due_on": due_date(RECEIVED, is_extended=True, closed=()),
    }
    assert rule_of(lambda: update(request_id, **extension)) == "data_subject_requests_extension_check"


def test_objection__is_answered_after_the_processing_was_stopped() -> None:
    request_id = request_in(State.APPROVED, kind="objection", processing="matching")
    assert rule_of(lambda: update(request_id, **columns_of(State.ANSWERED))) == "data_subject_requests_stopped_on_check"
    update(request_id, stopped_on=RECEIVED + 2 * DAY)
    assert rule_of(lambda: update(request_id, stopped_on=RECEIVED + 3 * DAY)) == "data_subject_requests_step_check"
    assert rule_of(lambda: update(request_id, **columns_of(State.ANSWERED))) == "data_subject_requests_order_check"
    assert rule_of(lambda: update(request_id, state="answered", closed_on=RECEIVED + 2 * DAY)) is None


def test_pause__moves_the_bounds_of_the_deadline() -> None:
    received_on = today() - 100 * DAY
    request_id = request_in(State.IDENTITY_ASKED, received_on=received_on)
    step = columns_of(State.IDENTIFIED, received_on) | {"identity_confirmed_on": received_on + 11 * DAY}
    assert rule_of(lambda: update(request_id, **step)) == "data_subject_requests_step_check"
    later = due_date(received_on, paused_days=10, closed=())
    assert rule_of(lambda: update(request_id, **step | {"due_on": later})) == "data_subject_requests_step_check"
    assert rule_of(lambda: update(request_id, **step | {"due_on": later, "first_due_on": later})) is None


@pytest.mark.parametrize("role", ["origin", "replica"])
def test_deletion__is_refused_for_three_years_after_the_end(role: str) -> None:
    young, old = (request_in(State.WITHDRAWN, received_on=today() - days * DAY) for days in (1095, 1097))
    run(f"SET LOCAL session_replication_role = {role}")
    for request_id in (insert(), young):
        with pytest.raises(IntegrityError, match="it cannot be deleted"), transaction.atomic():
            run(f"DELETE FROM data_subject_requests WHERE id = '{request_id}'")
    with pytest.raises(IntegrityError, match="TRUNCATE is refused"), transaction.atomic():
        run("TRUNCATE data_subject_requests CASCADE")
    run(f"DELETE FROM data_subject_requests WHERE id = '{old}'")
    assert not DataSubjectRequest.objects.filter(pk=old).exists()


def run(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def recipient(request_id: UUID, **columns: Any) -> Callable[[], Any]:
    return lambda: insert("request_recipients", **{"request_id": request_id, "recipient": "film-storage"} | columns)


@pytest.mark.parametrize("kind", Kind)
def test_recipients__only_of_an_approved_rectification_erasure_or_restriction(kind: Kind) -> None:
    processing = "embedding" if kind in (Kind.OBJECTION, Kind.CONSENT_WITHDRAWAL) else ""
    for state in (State.RECEIVED, State.IDENTIFIED, State.APPROVED):
        request_id = request_in(state, kind=kind.value, processing=processing, contact="a@example.com")
        allowed = state == State.APPROVED and kind in (Kind.RECTIFICATION, Kind.ERASURE, Kind.RESTRICTION)
        assert rule_of(recipient(request_id)) == (None if allowed else "request_recipients_step_check")


def test_recipients__each_rule() -> None:
    request_id = request_in(State.APPROVED, kind="rectification")
    for rule, columns in (
        ("recipient_check", {"recipient": "ann@example.com"}),
        ("recipient_check", {"recipient": "Ann Example"}),
        ("reason_check", {"not_informed_reason": "no time"}),
        ("reason_check", {"not_informed_reason": "impossible", "informed_on": RECEIVED}),
        ("informed_on_range_check", {"informed_on": "-infinity"}),
        ("step_check", {"informed_on": today() + 3 * DAY}),
    ):
        assert rule_of(recipient(request_id, **columns)) == f"request_recipients_{rule}", columns
    assert rule_of(recipient(request_id)) is None
    assert rule_of(recipient(request_id)) == "request_recipients_key"
    outcomes: list[tuple[str, str | None]] = [
        ("UPDATE request_recipients SET recipient = 'other'", "request_recipients_step_check"),
        ("DELETE FROM request_recipients", "request_recipients_step_check"),
        ("UPDATE request_recipients SET not_informed_reason = 'impossible'", None),
        ("UPDATE request_recipients SET not_informed_reason = '', informed_on = current_date", "request_recipients_step_check"),
    ]
    for statement, expected in outcomes:
        assert rule_of(lambda one=statement: run(one)) == expected, statement  # type: ignore[misc]


def test_recipients__are_deleted_with_an_old_request() -> None:
    request_id = request_in(State.APPROVED, kind="rectification", received_on=today() - 1200 * DAY)
    recipient(request_id)()
    update(request_id, state="answered", closed_on=today() - 1199 * DAY)
    run("DELETE FROM data_subject_requests")
    assert not RequestRecipient.objects.exists()


def test_rules__each_has_a_test() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE contype = 'c' AND conname NOT LIKE '%_range_check'"
            " AND conrelid IN ('data_subject_requests'::regclass, 'request_recipients'::regclass)"
        )
        rules = {name for (name,) in cursor.fetchall()}
    tested = {
        *(f"data_subject_requests_{name}_check" for name in ("kind", "state", "recorded_by", "contact", "processing", "identity")),
        *(f"data_subject_requests_{name}_check" for name in ("extension", "approval", "approver", "state_columns", "closed_on")),
        *(f"data_subject_requests_{name}_check" for name in ("stopped_on", "refusal", "ground", "ground_identity", "withdrawal", "order")),
        *(f"request_recipients_{name}_check" for name in ("recipient", "reason")),
    }
    assert rules == tested
