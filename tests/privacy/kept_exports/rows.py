"""Rows of ``exports``, and what a link opens."""

from __future__ import annotations

import io
from typing import Any
from uuid import UUID, uuid4
from zipfile import ZipFile

from privacy.actions.export_link import ExportLink
from privacy.kept_exports.links import PATH, begin_download
from privacy.models import KeptExport


def token_of(link: ExportLink) -> str:
    return link.path.removeprefix(PATH)


def downloaded(token: str) -> ZipFile:
    return ZipFile(io.BytesIO(b"".join(begin_download(token).chunks)))


def make_row(**columns: Any) -> KeptExport:
    return KeptExport.objects.create(**{"user_id": uuid4(), "made_by_id": uuid4()} | columns)


def change(export_id: UUID, **columns: Any) -> None:
    KeptExport.objects.filter(pk=export_id).update(**columns)
