"""What a restored database ends of accounts (``findme.core.db.restored``): sessions, counted failures of logins, and rights."""

from __future__ import annotations

from axes.models import AccessAttempt
from django.contrib.sessions.models import Session

from accounts.confirmation import disable_staff
from findme.core.db import restored
from findme.core.plurals import counted, plural


def end_sessions() -> str:
    """End all sessions. One of them may have been ended since the backup, because its user was dismissed or its cookie was stolen."""
    ended = Session.objects.all().delete()[0]
    return f"{counted(ended, 'session')} {plural(ended, 'was', 'were')} ended." if ended else ""


def forget_failures() -> str:
    """Forget the counted failures of logins, so that no lock of the time of the backup lasts."""
    forgotten = AccessAttempt.objects.all().delete()[0]
    return f"{counted(forgotten, 'count')} of failed logins {plural(forgotten, 'was', 'were')} forgotten." if forgotten else ""


restored.register(restored.SESSIONS, end_sessions)
restored.register(restored.COUNTED_FAILURES, forget_failures)
restored.register(restored.STAFF, disable_staff)
