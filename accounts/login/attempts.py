"""Failed log-ins, and wrong passwords of users who change theirs, and what follows from them. The rows are in the tables of django-axes.

Five failures lock the pair of account and network, never the account: otherwise any stranger could lock out an administrator. Twenty failures of
one network, whatever the accounts, slow that network down: one attempt in ten seconds.

No row has what was typed: an account stands as its UUID, and a name without an account as a keyed digest.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.db import OperationalError, connection, transaction
from django.db.models import F, Max, Q, Sum
from django.utils import timezone
from django.utils.crypto import salted_hmac
from psycopg import errors

from accounts.login.gate import LoginBusy
from accounts.models import User

log = logging.getLogger(__name__)

FAILURES_OF_A_PAIR = 5
FAILURES_OF_A_NETWORK = 20
WINDOW = timedelta(minutes=15)
"""How long a pair is locked after its last failure, and for how long a failure counts."""
PAUSE = timedelta(seconds=10)
"""How long a network that is slowed down waits after each failure."""
LOCK_WAIT_SECONDS = 3


@dataclass(frozen=True, slots=True)
class Account:
    """What an attempt is about; ``key`` is what the tables have."""

    key: str
    user_id: UUID | None

    def __str__(self) -> str:
        """For the log: the UUID."""
        return "unknown" if self.user_id is None else str(self.user_id)


def account_named(name: str) -> Account:
    user_id = User.objects.with_email(name.strip()).values_list("pk", flat=True).first()
    return _without_account(name) if user_id is None else Account(str(user_id), user_id)


def digest_of(name: str) -> str:
    """Return the key of a name without an account. Only this site's SECRET_KEY makes it."""
    return f"unknown:{salted_hmac('accounts.login', name.strip().lower(), algorithm='sha256').hexdigest()}"


def _without_account(name: str) -> Account:
    return Account(digest_of(name), None)


@contextmanager
def one_at_a_time(network: str) -> Iterator[None]:
    """One transaction, and no other attempt of this network on any machine: otherwise 50 posts at once would be 50 guesses.

    Raises LoginBusy if the lock of the network, or of a row, is not free in time.
    """
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT_SECONDS}s'")
                cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"findme log-in {network}"])
            yield
    except OperationalError as error:
        if isinstance(error.__cause__, errors.LockNotAvailable | errors.DeadlockDetected):
            raise LoginBusy from error
        raise


def time_to_wait(account: Account, network: str) -> timedelta | None:
    """Return how long this network must wait before it may try this account again; None if it may try now."""
    now = timezone.now()
    pair = Q(username=account.key)
    found = AccessAttempt.objects.filter(ip_address=network, attempt_time__gt=now - WINDOW).aggregate(
        pair=Sum("failures_since_start", filter=pair, default=0),
        pair_at=Max("attempt_time", filter=pair),
        network=Sum("failures_since_start", default=0),
        network_at=Max("attempt_time"),
    )
    if found["pair"] >= FAILURES_OF_A_PAIR:
        return _remaining(found["pair_at"] + WINDOW, now)
    if found["network"] >= FAILURES_OF_A_NETWORK:
        return _remaining(found["network_at"] + PAUSE, now)
    return None


def _remaining(until: datetime, now: datetime) -> timedelta | None:
    return until - now if until > now else None


def record_failure(name: str, account: Account, network: str, what: str = "Log-in failed") -> None:
    """Count a wrong password. ``what`` begins the line of the log. Call it inside ``one_at_a_time``."""
    if account.user_id is not None and not _still_has(account.user_id, name):
        account = _without_account(name)
    now = timezone.now()
    AccessAttempt.objects.filter(ip_address=network, attempt_time__lte=now - WINDOW).delete()
    mine = AccessAttempt.objects.filter(username=account.key, ip_address=network)
    if not mine.update(failures_since_start=F("failures_since_start") + 1, attempt_time=now):
        AccessAttempt.objects.create(username=account.key, ip_address=network, failures_since_start=1)
    failures = mine.get().failures_since_start
    locked = failures >= FAILURES_OF_A_PAIR
    AccessFailureLog.objects.create(username=account.key, ip_address=network, locked_out=locked)
    log.warning("%s: account %s, failure %s of %s from its network.", what, account, failures, FAILURES_OF_A_PAIR)
    if locked:
        log.warning("Log-in locked for %s minutes: account %s, for one network.", WINDOW // timedelta(minutes=1), account)


def forget_failures(account: Account, network: str) -> None:
    """A right password ends the count of its pair."""
    AccessAttempt.objects.filter(username=account.key, ip_address=network).delete()


def record_login(user: User, network: str) -> None:
    """Note a log-in, unless the user was anonymized or deleted in the meantime."""
    with transaction.atomic():
        if _still_has(user.pk, user.email):
            AccessLog.objects.create(username=str(user.pk), ip_address=network)


def _still_has(user_id: UUID, email: str) -> bool:
    """Lock the user's row against an anonymization and a deletion until the transaction ends; whether the address is still theirs.

    A row about a user that is written during their erasure would stay.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM users WHERE id = %s AND lower(email) = lower(%s) FOR KEY SHARE", [user_id, email.strip()])
        return cursor.fetchone() is not None
