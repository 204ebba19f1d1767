"""What a restored database ends of privacy (``findme.core.db.restored``): links, approvals that were not carried out, and searches before a replay."""

from __future__ import annotations

from django.conf import settings
from django.db.models.functions import Now

from findme.core.db import restored
from findme.core.db.expressions import ClockTimestamp
from findme.core.plurals import counted, plural
from privacy.models import Erasure, KeptExport, LedgerState


def end_exports() -> str:
    """End the links of exports. They may have been used since the backup, or their files may be gone. ``process_requests`` deletes the files."""
    ended = KeptExport.objects.filter(deleted_at=None).update(deleted_at=Now())
    return f"{counted(ended, 'link')} to {plural(ended, 'an export', 'exports')} {plural(ended, 'was', 'were')} ended." if ended else ""


def stop_approved_erasures() -> str:
    """Stop the approved erasures that have not begun: their request may have been refused or withdrawn since the backup.

    One that was carried out since is in the ledger outside, and ``replay_erasures`` repeats it.
    """
    stopped = Erasure.objects.filter(state=Erasure.State.SEALED, ledger_position=None).update(
        state=Erasure.State.STOPPED, stopped_at=ClockTimestamp(), stop_reason=Erasure.StopReason.TOO_OLD
    )
    if not stopped:
        return ""
    return f"{counted(stopped, 'approved erasure')} {plural(stopped, 'was', 'were')} stopped. Check whether the request still stands, and approve it again."


def serve_no_search() -> str:
    """Serve no search until ``replay_erasures`` has ended. Without ``ERASURE_LEDGER_URL`` there is nothing to replay."""
    if not settings.ERASURE_LEDGER_URL:
        return ""
    LedgerState.objects.update_or_create(pk=1, defaults={"is_replaying": True})
    return "No search is served until replay_erasures has ended."


restored.register("exports", end_exports)
restored.register("approved erasures", stop_approved_erasures)
restored.register(restored.SEARCHES, serve_no_search)
