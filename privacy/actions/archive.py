"""Zip file of an export: one JSON file per section, and ``manifest.json`` as the last file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import IO, Any
from uuid import UUID
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from findme.core.values.exact_json import LosslessEncoder
from findme.core.values.unreadable import Unreadable

FORMAT_VERSION = 1
"""Version of the file format. Increase it with each change that a reader could notice."""

Section = Mapping[str, Any] | Iterable[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file of the zip.

    ``entries`` is the number of objects (1 if the file is one object), ``size`` is in bytes before compression, ``sha256`` is in hex.
    """

    name: str
    entries: int
    size: int
    sha256: str


def write_archive(fileobj: IO[bytes], user_id: UUID, sections: Iterable[tuple[str, Section]]) -> tuple[ExportedFile, ...]:
    """Write the zip, one object at a time.

    ``fileobj`` need not be seekable. A truncated zip has no directory and cannot be opened.
    """
    made_at = datetime.now(UTC)
    with ZipFile(fileobj, "w") as archive:
        files = tuple(_write_section(archive, f"{name}.json", section, made_at) for name, section in sections)
        manifest = {
            "format": "FindMe personal data",
            "version": FORMAT_VERSION,
            "user_id": user_id,
            "made_at": made_at,
            "files": [asdict(file) for file in files],
        }
        _write_section(archive, "manifest.json", manifest, made_at)
    return files


def _write_section(archive: ZipFile, name: str, section: Section, made_at: datetime) -> ExportedFile:
    entry = ZipInfo(name, made_at.timetuple()[:6])
    entry.compress_type = ZIP_DEFLATED
    entry.external_attr = 0o600 << 16
    entries, size, digest = 0, 0, sha256()
    with archive.open(entry, "w", force_zip64=True) as member:
        for line, is_entry in _lines(section):
            encoded = line.encode()
            member.write(encoded)
            digest.update(encoded)
            size += len(encoded)
            entries += is_entry
    return ExportedFile(name, entries, size, digest.hexdigest())


def _lines(section: Section) -> Iterator[tuple[str, bool]]:
    """Yield the parts of one JSON document, each with whether it is an entry."""
    if isinstance(section, Mapping):
        yield f"{as_json(section)}\n", True
        return
    before = "[\n"
    for row in section:
        yield f"{before}{as_json(row)}", True
        before = ",\n"
    yield ("[]\n" if before == "[\n" else "\n]\n"), False


def as_json(value: object) -> str:
    """Return JSON by RFC 8259.

    Times are in UTC, in the format of RFC 3339 with all digits. NaN and infinities, which JSON does not have, are strings.
    """
    return json.dumps(value, default=_plain, ensure_ascii=False, cls=LosslessEncoder, indent=2)


def _plain(value: object) -> str:
    match value:
        case Unreadable():
            return value.text
        case datetime():
            return value.astimezone(UTC).isoformat()
        case date():
            return value.isoformat()
        case UUID():
            return str(value)
    raise TypeError(f"{value!r} has no form in JSON")
