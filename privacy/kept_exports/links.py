"""The links of exports. The token in a link is the only key of its file, and the database has only its SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from django.db import DatabaseError, transaction
from django.db.models.functions import Now

from findme.core.errors import UserFacingError
from privacy.audit import Action, record
from privacy.kept_exports.encryption import decrypted
from privacy.kept_exports.folder import path_of, reached
from privacy.kept_exports.removal import mark_deleted
from privacy.models import KeptExport

logger = logging.getLogger(__name__)

PATH = "/privacy/export/"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class LinkOver(UserFacingError):
    """The link was never valid, was used, or has expired. The three look the same from outside."""

    def __init__(self) -> None:
        super().__init__("This link does not work: it was used, it has expired, or it is not complete. Ask for a new one.")


@dataclass(frozen=True, slots=True)
class Download:
    """A download that has begun. ``chunks`` must be read once."""

    export: KeptExport
    chunks: Iterator[bytes]


def new_token() -> str:
    """Return 256 random bits as 43 characters that are safe in a URL."""
    return secrets.token_urlsafe(32)


def digest_of(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def find(token: str) -> KeptExport:
    """Return the export of a link that can be used. Raise LinkOver. Nothing is changed, so a preview of the link does not use it up."""
    return _find(token, lock=False)


def begin_download(token: str) -> Download:
    """Use the link up, and return the content. Raise LinkOver, and StoreUnavailable for a folder that cannot be reached.

    The link is used up when the download begins, and the file is deleted then: a download that breaks off needs a new link. Of two processes at once,
    one waits for the other and raises LinkOver. The content is read from the open file. If this process is killed, nothing can open it any more.
    """
    with transaction.atomic(durable=True):
        export = _find(token, lock=True)
        with reached():
            try:
                file: BinaryIO = path_of(export.pk).open("rb")
            except FileNotFoundError:
                raise LinkOver from None
        try:
            KeptExport.objects.filter(pk=export.pk).update(downloaded_at=Now())
            record(Action.DOWNLOAD_EXPORT, export.user_id, actor_id=None)
        except BaseException:
            file.close()
            raise
    try:
        with transaction.atomic():
            mark_deleted(export)
    except (DatabaseError, UserFacingError) as error:
        logger.warning("The file of the export %s is not deleted yet (%s): process_requests deletes it.", export.pk, type(error).__name__)
    return Download(export, decrypted(file, token, export.pk))


def _find(token: str, *, lock: bool) -> KeptExport:
    if not _TOKEN.fullmatch(token):
        raise LinkOver
    digest = digest_of(token)
    rows = KeptExport.objects.filter(token_sha256=digest, downloaded_at__isnull=True, deleted_at__isnull=True, expires_at__gt=Now())
    export = (rows.select_for_update(no_key=True) if lock else rows).first()
    if export is None or export.token_sha256 is None or not hmac.compare_digest(bytes(export.token_sha256), digest):
        raise LinkOver
    return export
