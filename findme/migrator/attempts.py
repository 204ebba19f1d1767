"""Repeat work on tables that are in use while a lock is not free."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import Error

from findme.core.errors import UserFacingError, without_detail
from findme.migrator.diagnostics import is_lock_unavailable, oldest_transaction
from findme.migrator.lock import MigrationLock
from findme.migrator.timeouts import MigrationTimeouts

Result = TypeVar("Result")


def repeat_while_locked(
    attempt: Callable[[], Result],
    *,
    subject: str,
    lock: MigrationLock,
    timeouts: MigrationTimeouts,
    on_warning: Callable[[str], None],
    failure: Callable[[Error, int], UserFacingError],
    may_repeat: bool = True,
    on_failed_attempt: Callable[[], object] = lambda: None,
) -> Result:
    """Return what ``attempt`` returns. Try it again, after a pause, while it fails only because a lock is not free.

    For any other error, and after the last of ``timeouts.attempts``, raise the error that ``failure`` returns for it and the number of attempts.
    ``on_failed_attempt`` is called first for every error. ``subject`` begins each warning.
    """
    for number in itertools.count(1):
        try:
            return attempt()
        except Error as error:
            on_failed_attempt()
            if not (may_repeat and is_lock_unavailable(error) and number < timeouts.attempts):
                raise failure(error, number) from error
            seconds = timeouts.pause_after(number)
            on_warning(
                f"{subject}: {without_detail(error)}{oldest_transaction(lock.connection)};"
                f" attempt {number + 1} of {timeouts.attempts} in {seconds:.1f} s."
            )
            time.sleep(seconds)
    raise AssertionError("the last attempt returns or raises")
