"""Early end of a lock."""

from __future__ import annotations

from uuid import UUID

from axes.models import AccessAttempt
from django.db.models import Sum

from accounts.login.personal_data import keys_of


def unlock(user_id: UUID | None, network: str | None, *, dry_run: bool = False) -> int:
    """Delete the counted failures of a user, of a network (``192.0.2.0/24``) or of both, and return their number.

    The log of failures stays.
    """
    found = AccessAttempt.objects.all()
    if user_id is not None:
        found = found.filter(username__in=keys_of(user_id))
    if network is not None:
        found = found.extra(where=["ip_address <<= %s::inet"], params=[network])
    failures = int(found.aggregate(failures=Sum("failures_since_start", default=0))["failures"])
    if not dry_run:
        found.delete()
    return failures
