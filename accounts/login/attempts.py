"""Limits on failed logins and on wrong old passwords. The rows are in the tables of django-axes.

Five failures lock the pair of account and network, never the account alone: otherwise anyone could lock out an administrator. Twenty failures of
one network, for any accounts, limit that network to one attempt in ten seconds.

No row contains the typed name: an account is stored as its UUID, and a name without an account as a keyed digest.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
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

from accounts.login.hash_limit import LoginBusy
from accounts.models import User

log = logging.getLogger(__name__)

MAX_PAIR_FAILURES = 5
MAX_NETWORK_FAILURES = 20
WINDOW = timedelta(minutes=15)
"""How long a failure counts, and how long a pair stays locked after its last failure."""
PAUSE = timedelta(seconds=10)
"""Pause after each failure for a network that has reached its limit."""
LOCK_WAIT_SECONDS = 3


@dataclass(frozen=True, slots=True)
class Account:
    """The account of an attempt. ``key`` identifies it in the tables."""

    key: str
    user_id: UUID | None

    def __str__(self) -> str:
        """Return the UUID for the log."""
        return "unknown" if self.user_id is None else str(self.user_id)


def find_account(name: str) -> Account:
    user_id = User.objects.with_email(name.strip()).values_list("pk", flat=True).first()
    return _without_account(name) if user_id is None else Account(str(user_id), user_id)


def digest_of(name: str) -> str:
    """Return the key of a name without an account: a digest that depends on SECRET_KEY."""
    return digests_of([name])[0]


def digests_of(names: Iterable[str]) -> list[str]:
    """Return ``digest_of`` for many names. The key is derived once."""
    begun = salted_hmac("accounts.login", "", algorithm="sha256")
    digests: list[str] = []
    for name in names:
        hashed = begun.copy()
        hashed.update(name.strip().lower().encode())
        digests.append(f"unknown:{hashed.hexdigest()}")
    return digests


def _without_account(name: str) -> Account:
    return Account(digest_of(name), None)


@contextmanager
def network_lock(network: str) -> Iterator[None]:
    """Open a transaction and lock the network on all machines: otherwise 50 concurrent requests would be 50 guesses.

    Raise LoginBusy if the lock of the network, or of a row, is not free in time.
    """
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT_SECONDS}s'")
                cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"findme login {network}"])
            yield
    except OperationalError as error:
        if isinstance(error.__cause__, errors.LockNotAvailable | errors.DeadlockDetected):
            raise LoginBusy from error
        raise


def time_to_wait(account: Account, network: str) -> timedelta | None:
    """Return how long this network must wait before its next attempt for this account, or None."""
    now = timezone.now()
    pair = Q(username=account.key)
    found = AccessAttempt.objects.filter(ip_address=network, attempt_time__gt=now - WINDOW).aggregate(
        pair=Sum("failures_since_start", filter=pair, default=0),
        pair_at=Max("attempt_time", filter=pair),
        network=Sum("failures_since_start", default=0),
        network_at=Max("attempt_time"),
    )
    if found["pair"] >= MAX_PAIR_FAILURES:
        return _remaining(found["pair_at"] + WINDOW, now)
    if found["network"] >= MAX_NETWORK_FAILURES:
        return _remaining(found["network_at"] + PAUSE, now)
    return None


def _remaining(until: datetime, now: datetime) -> timedelta | None:
    return until - now if until > now else None


def record_failure(name: str, account: Account, network: str, what: str = "Login failed") -> None:
    """Count a wrong password. ``what`` starts the log line. Call this inside ``network_lock``."""
    if account.user_id is not None and not _lock_if_same_email(account.user_id, name):
        account = _without_account(name)
    now = timezone.now()
    AccessAttempt.objects.filter(ip_address=network, attempt_time__lte=now - WINDOW).delete()
    mine = AccessAttempt.objects.filter(username=account.key, ip_address=network)
    if not mine.update(failures_since_start=F("failures_since_start") + 1, attempt_time=now):
        AccessAttempt.objects.create(username=account.key, ip_address=network, failures_since_start=1)
    failures = mine.get().failures_since_start
    locked = failures >= MAX_PAIR_FAILURES
    AccessFailureLog.objects.create(username=account.key, ip_address=network, locked_out=locked)
    log.warning("%s: account %s, failure %s of %s from its network.", what, account, failures, MAX_PAIR_FAILURES)
    if locked:
        log.warning("Login locked for %s minutes: account %s, for one network.", WINDOW // timedelta(minutes=1), account)


def forget_failures(account: Account, network: str) -> None:
    """Delete the failures of the pair after a correct password."""
    AccessAttempt.objects.filter(username=account.key, ip_address=network).delete()


def record_login(user: User, network: str) -> None:
    """Record a login, unless another transaction has anonymized or deleted the user."""
    with transaction.atomic():
        if _lock_if_same_email(user.pk, user.email):
            AccessLog.objects.create(username=str(user.pk), ip_address=network)


def _lock_if_same_email(user_id: UUID, email: str) -> bool:
    """Return whether the user still has this address, and lock the row until the transaction ends.

    The lock blocks an anonymization and a deletion. A record that is written during an erasure would survive it.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM users WHERE id = %s AND lower(email) = lower(%s) FOR KEY SHARE", [user_id, email.strip()])
        return cursor.fetchone() is not None
