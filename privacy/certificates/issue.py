"""Issue the certificate of an erasure: a JWS, signed by the key of the ledger."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, date, datetime
from uuid import UUID

from django.db.models import Q

from findme.core.errors import UserFacingError
from privacy.certificates.contents import CERTIFICATE, VERSION, ActiveHold, Certificate, Place, Planned, Step, open_steps
from privacy.ledger.book import digest_at
from privacy.ledger.gate import compare_with_outside
from privacy.ledger.signing import sign, signing_key
from privacy.models import DataSubjectRequest, Erasure, ErasureStep, Hold, LedgerState

WITH_LEDGER_ENTRY = Q(state__in=[Erasure.State.ERASED, Erasure.State.PURGED]) | Q(
    state=Erasure.State.SEALED, ledger_position__isnull=False, steps__waits_for=ErasureStep.WaitsFor.HOLD
)
"""Erasures that are complete, or complete except for data on hold."""


def issue_certificate(request_id: UUID) -> str:
    """Return the certificate as a JWS in compact form.

    Raise UserFacingError if the request is unknown or not erased yet, LedgerBehind and LedgerBroken if the database does not continue the ledger
    outside, and StoreUnavailable.
    """
    certificate = certificate_of(request_id)
    text = json.dumps(asdict(certificate), default=_time, sort_keys=True, separators=(",", ":"))
    return sign(text.encode(), signing_key())


def certificate_of(request_id: UUID) -> Certificate:
    """Return the contents. Raise as ``issue_certificate``."""
    erasure = _erasure_of(request_id)
    compare_with_outside()
    head, position = LedgerState.published(), erasure.ledger_position or 0
    if position > head:
        raise UserFacingError(
            f"Entry {position} of the ledger is not outside yet: no certificate was issued. Run manage.py process_requests --once, then this command."
        )
    steps = tuple(Step(step.step, step.done_at, step.count, step.waits_for, step.waits_until) for step in erasure.steps.order_by("pk"))
    return Certificate(
        certificate=CERTIFICATE,
        version=VERSION,
        request=str(request_id),
        issued_at=datetime.now(UTC),
        is_erased=erasure.state in (Erasure.State.ERASED, Erasure.State.PURGED),
        is_purged=erasure.state == Erasure.State.PURGED,
        sealed_at=erasure.sealed_at,
        erased_at=erasure.erased_at,
        purged_at=erasure.purged_at,
        plan=Planned.of(erasure.plan),
        plan_digest=bytes(erasure.plan_digest).hex(),
        policy_version=erasure.policy_version,
        steps=steps,
        open_steps=open_steps(steps),
        holds=tuple(
            ActiveHold(hold.section, hold.article, hold.until) for hold in Hold.objects.active().filter(user_id=erasure.user).order_by("pk")
        ),
        entry=_place(position),
        head=_place(head),
    )


def _place(position: int) -> Place:
    digest = digest_at(position)
    if digest is None:
        raise UserFacingError(f"Entry {position} of the ledger was deleted after its retention: no certificate was issued.")
    return Place(position, digest.hex())


def _erasure_of(request_id: UUID) -> Erasure:
    """Return the erasure of the request. Raise UserFacingError if there is none, or if it is not done."""
    if not DataSubjectRequest.objects.filter(pk=request_id).exists():
        raise UserFacingError(f"There is no request {str(request_id)!r}: no certificate was issued. Run manage.py privacy_request list")
    erasure = Erasure.objects.filter(WITH_LEDGER_ENTRY, request_id=request_id).order_by("-sealed_at").first()
    if erasure is None:
        raise UserFacingError(
            f"Nothing was erased for the request {str(request_id)!r} yet: no certificate was issued. Run manage.py privacy_request show {request_id}"
        )
    return erasure


def _time(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{value!r} has no form in JSON")
