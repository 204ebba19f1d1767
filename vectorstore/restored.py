"""What a restored database ends of the vector store (``findme.core.db.restored``).

Modules that use qdrant-client are imported inside the function. The client takes most of a second to import, and every command imports this module.
"""

from __future__ import annotations

from findme.core.db import restored
from findme.core.plurals import counted, plural
from vectorstore.models import QueueEntry, SyncLease, SyncWorker, VectorImport
from vectorstore.queue.entries import ALL_USERS, enqueue, enqueue_orphan_scan, retry


def forget_collections() -> str:
    from vectorstore.consistency.restored import forget_collections

    return forget_collections()


def end_workers() -> str:
    """End the workers, their leases and the quarantine. The users of the leases and of the quarantine are queued again."""
    leased = set(SyncLease.objects.values_list("pk", flat=True))
    if ALL_USERS in leased:
        enqueue_orphan_scan()
    enqueue(leased - {ALL_USERS}, urgent=True, cause=QueueEntry.Cause.RECHECK)
    SyncLease.objects.all().delete()
    workers = SyncWorker.objects.all().delete()[0]
    retried = retry(None)
    if not (leased or workers or retried):
        return ""
    return (
        f"{counted(workers, 'worker')} and {counted(len(leased), 'lease')} of sync_qdrant were ended, and {counted(retried, 'quarantined user')}"
        f" {plural(retried, 'was', 'were')} queued."
    )


def end_imports() -> str:
    """Let interrupted imports of embeddings begin at the first point: the file of rejected lines is newer than the row."""
    ended = VectorImport.objects.filter(finished_at=None).exclude(last_point="").update(last_point="", rejects=None)
    return f"{counted(ended, 'import')} of embeddings will begin again at the first point." if ended else ""


restored.register("collections", forget_collections)
restored.register("workers", end_workers)
restored.register("imports", end_imports)
