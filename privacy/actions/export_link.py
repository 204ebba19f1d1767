"""Make an export that waits for its download behind a link."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Now

from findme.core.db.advisory_lock import AdvisoryLock
from findme.core.errors import UserFacingError
from findme.core.files import atomic_write
from privacy.actions.export import erased_meanwhile, is_erased, write_archive
from privacy.audit import Action, actor_columns, record_failure_of
from privacy.kept_exports.encryption import EncryptedWriter
from privacy.kept_exports.folder import delete_file, exports_folder, path_of
from privacy.kept_exports.links import PATH, digest_of, new_token
from privacy.models import DataSubjectRequest, KeptExport
from privacy.users import require_user

COUNTING_KEY = 5_106_220_371_984_442
"""Key of the advisory lock under which exports are counted, so that two at once are not both the last one of a day."""
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ExportLink:
    """A link, which nothing can show again. ``path`` is without the host, ``size`` is that of the zip in bytes."""

    export_id: UUID
    user_id: UUID
    path: str
    expires_at: datetime
    size: int


class TooManyExports(UserFacingError):
    """The limit of one person or of one operator is reached."""


def make_export_link(user_id: UUID, *, request_id: UUID | None = None, actor_id: UUID | None = None) -> ExportLink:
    """Write an encrypted export to ``EXPORTS_DIR``, and return its link. Call this outside a transaction.

    If this process is killed, the file stays encrypted, and its key is lost with the process. ``process_requests`` deletes it. If the user is erased
    meanwhile, there is no export. Raise UserFacingError for an unknown user or request, TooManyExports, and StoreUnavailable.
    """
    require_user(user_id)
    _require_request(user_id, request_id)
    exports_folder()
    export_id = uuid4()
    being_made = _lock_of(export_id)
    being_made.try_acquire()  # before another process can see the row
    try:
        export, token, was_erased = _begin(export_id, user_id, request_id, actor_id), new_token(), is_erased(user_id)
        try:
            path = path_of(export.pk)
            with record_failure_of(Action.EXPORT, user_id, actor_id=actor_id):
                with atomic_write(path, force=False) as file, EncryptedWriter(file, token, export.pk) as writer:
                    write_archive(user_id, writer, actor_id)  # type: ignore[arg-type]  # the zip is only written
                expires_at = _complete(export, token, writer, was_erased=was_erased)
        except BaseException:
            _discard(export)
            raise
    finally:
        being_made.release()
    return ExportLink(export.pk, user_id, f"{PATH}{token}", expires_at, writer.size)


def preview_export_link(user_id: UUID, *, request_id: UUID | None = None, actor_id: UUID | None = None) -> None:
    """Raise as ``make_export_link`` does before it reads any data."""
    require_user(user_id)
    _require_request(user_id, request_id)
    _require_below_limits(user_id, actor_id)
    exports_folder()


def _require_request(user_id: UUID, request_id: UUID | None) -> None:
    if request_id is not None and not DataSubjectRequest.objects.filter(pk=request_id, user_id=user_id).exists():
        raise UserFacingError(
            f"The user {str(user_id)!r} has no request {str(request_id)!r}: no export was made. Find it with manage.py privacy_request list."
        )


def _begin(export_id: UUID, user_id: UUID, request_id: UUID | None, actor_id: UUID | None) -> KeptExport:
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [COUNTING_KEY])
        _require_below_limits(user_id, actor_id)
        return KeptExport.objects.create(pk=export_id, user_id=user_id, request_id=request_id, **actor_columns(actor_id, "made_by"))


def _require_below_limits(user_id: UUID, actor_id: UUID | None) -> None:
    recent = KeptExport.objects.filter(created_at__gt=Now() - DAY)
    recent = recent.exclude(pk__in=[pk for pk in recent.filter(size__isnull=True).values_list("pk", flat=True) if _is_killed(pk)])
    if recent.filter(user_id=user_id).count() >= settings.EXPORTS_PER_DAY:
        raise TooManyExports(
            f"The user {str(user_id)!r} had {settings.EXPORTS_PER_DAY} exports in 24 hours: no export was made. Wait, or raise EXPORTS_PER_DAY."
        )
    if recent.filter(**actor_columns(actor_id, "made_by")).count() >= settings.EXPORTS_PER_OPERATOR:
        raise TooManyExports(
            f"You made {settings.EXPORTS_PER_OPERATOR} exports in 24 hours: no export was made. Wait, or raise EXPORTS_PER_OPERATOR."
        )


def _is_killed(export_id: UUID) -> bool:
    """Return whether no process makes the unfinished export any more: its lock is free."""
    lock = _lock_of(export_id)
    if not lock.try_acquire():
        return False
    lock.release()
    return True


def _lock_of(export_id: UUID) -> AdvisoryLock:
    """Return the lock that the process has which makes the export. A killed process loses it."""
    return AdvisoryLock(connection, int.from_bytes(export_id.bytes[:8], signed=True))


def _complete(export: KeptExport, token: str, writer: EncryptedWriter, *, was_erased: bool) -> datetime:
    """Give the export its link. The lock on the user's row keeps an erasure from missing the export, or from being missed here."""
    with transaction.atomic(durable=True):
        user = get_user_model().objects.select_for_update(no_key=True).filter(pk=export.user_id).values_list("pk").first()
        row = KeptExport.objects.select_for_update().filter(pk=export.pk, deleted_at__isnull=True).first()
        if user is None or row is None or is_erased(export.user_id) != was_erased:
            raise erased_meanwhile(export.user_id)
        KeptExport.objects.filter(pk=export.pk).update(
            size=writer.size,
            sha256=writer.sha256,
            token_sha256=digest_of(token),
            expires_at=Now() + timedelta(hours=settings.EXPORT_LINK_HOURS),
        )
        row.refresh_from_db(fields=["expires_at"])
    assert row.expires_at is not None
    return row.expires_at


def _discard(export: KeptExport) -> None:
    """Delete the file and the row. What fails here is left to ``process_requests``, and the caller raises the first error."""
    with suppress(UserFacingError, DatabaseError):
        delete_file(export.pk)
        KeptExport.objects.filter(pk=export.pk).delete()
