"""Serve no search while the database is behind the ledger outside: it was restored, and users who were erased may be back."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.backends.signals import connection_created

from findme.core.errors import StoreUnavailable, UserFacingError, one_line
from privacy.ledger.entry import LedgerBroken
from privacy.ledger.outside import outside_ledger
from privacy.ledger.publication import LedgerBehind, follow, state

SECONDS = 60.0
"""How long the result of a comparison counts."""
RETRY_SECONDS = 5.0
"""How long a process that has never compared waits before it tries again."""

logger = logging.getLogger(__name__)


def compare_with_outside() -> None:
    """Raise LedgerBehind or LedgerBroken if the database does not continue the ledger outside, and StoreUnavailable.

    A replay that has not ended may have copied all entries, and erased users are still back. Without ``ERASURE_LEDGER_URL`` there is nothing to
    compare.
    """
    known, is_replaying = state()
    if is_replaying:
        raise LedgerBehind("The database was restored, and its replay has not ended. Run manage.py replay_erasures until it ends with 0.")
    if settings.ERASURE_LEDGER_URL:
        follow(outside_ledger(), known)


class Gate:
    """Compare when a process begins, on each new connection to PostgreSQL, and once a minute.

    An unavailable ledger closes the gate only for a process that has never compared: its database may have been restored.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._compare_at = 0.0
        self._forgotten = 0
        self._is_known = False
        self._error: UserFacingError | None = None

    def require_current(self) -> None:
        """Raise LedgerBehind if the database was restored and ``replay_erasures`` has not ended, LedgerBroken, and StoreUnavailable."""
        with self._lock:
            if time.monotonic() >= self._compare_at:
                self._compare()
            if self._error is not None:
                raise self._error.with_traceback(None)  # otherwise it would keep the frames of every search

    def forget(self, **_signal: Any) -> None:
        """Compare again before the next search."""
        self._forgotten += 1
        self._compare_at = 0.0

    def _compare(self) -> None:
        seconds = SECONDS
        connection.ensure_connection()
        forgotten = self._forgotten
        try:
            compare_with_outside()
            self._error, self._is_known = None, True
        except (LedgerBehind, LedgerBroken) as error:
            self._error, self._is_known = error, True
        except StoreUnavailable as error:
            logger.warning("The ledger of erasures was not compared: %s", one_line(error))
            if not self._is_known:
                self._error, seconds = error, RETRY_SECONDS
        # Another thread may have connected to a restored database meanwhile.
        if forgotten == self._forgotten:
            self._compare_at = time.monotonic() + seconds


GATE = Gate()
connection_created.connect(GATE.forget, dispatch_uid="privacy.ledger.gate")
