"""Zip file of an export: every member is written once, while its data is read, and ``manifest.json`` with their hashes is the last one."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import IO, Any, Self
from uuid import UUID
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from findme.core.values.exact_json import LosslessEncoder
from findme.core.values.unreadable import Unreadable
from privacy.json_schemas import TIME, Schema, array_of, document, object_of

FORMAT_VERSION = 2
"""Version of the file format. Increase it with each change that a reader could notice."""
SCHEMAS = "schemas/"
MANIFEST_SCHEMA = object_of(
    {
        "format": {"type": "string"},
        "version": {"type": "integer"},
        "user_id": {"type": "string", "format": "uuid"},
        "made_at": TIME,
        "files": array_of(
            object_of(
                {"name": {"type": "string"}, "entries": {"type": "integer"}, "size": {"type": "integer"}, "sha256": {"type": "string"}}
            )
        ),
    }
)

Section = Mapping[str, Any] | Iterable[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file of the zip.

    ``entries`` is the number of objects (1 if the file is one object, or no JSON), ``size`` is in bytes before compression, ``sha256`` is in hex.
    """

    name: str
    entries: int
    size: int
    sha256: str


class Archive:
    """A zip that is being written. ``fileobj`` need not be seekable. A truncated zip has no directory and cannot be opened.

    What the manifest says about the members is in a temporary file without a name, so memory does not grow with their number.
    """

    def __init__(self, fileobj: IO[bytes], user_id: UUID) -> None:
        self.user_id, self.made_at = user_id, datetime.now(UTC)
        self._zip = ZipFile(fileobj, "w")
        self._members = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  # closed by __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._write_manifest()
                self._zip.close()
            else:
                self._zip.fp = None  # otherwise it writes the directory, and an incomplete zip can be opened
        finally:
            self._members.close()

    def write_section(self, name: str, section: Section, schema: Schema) -> ExportedFile:
        """Write the schema and ``{name}.json``, one object at a time."""
        self.write(f"{SCHEMAS}{name}.schema.json", [f"{as_json(document(name, schema))}\n".encode()])
        return self._write_json(f"{name}.json", section)

    def write(self, name: str, content: Iterable[bytes], *, compressed: bool = True) -> ExportedFile:
        return self._write(name, ((piece, False) for piece in content), 1, compressed=compressed)

    def _write_json(self, name: str, section: Section) -> ExportedFile:
        return self._write(name, ((line.encode(), is_entry) for line, is_entry in _lines(section)))

    def _write(self, name: str, pieces: Iterable[tuple[bytes, bool]], entries: int = 0, *, compressed: bool = True) -> ExportedFile:
        entry = ZipInfo(name, self.made_at.timetuple()[:6])
        entry.compress_type = ZIP_DEFLATED if compressed else ZIP_STORED
        entry.external_attr = 0o600 << 16
        size, digest = 0, sha256()
        with self._zip.open(entry, "w", force_zip64=True) as member:
            for piece, is_entry in pieces:
                member.write(piece)
                digest.update(piece)
                size += len(piece)
                entries += is_entry
        written = ExportedFile(name, entries, size, digest.hexdigest())
        self._members.write(f"{json.dumps(asdict(written))}\n")
        return written

    def _write_manifest(self) -> None:
        self.write(f"{SCHEMAS}manifest.schema.json", [f"{as_json(document('manifest', MANIFEST_SCHEMA))}\n".encode()])
        self._members.seek(0)
        self.write("manifest.json", self._manifest())

    def _manifest(self) -> Iterator[bytes]:
        head = as_json({"format": "FindMe personal data", "version": FORMAT_VERSION, "user_id": self.user_id, "made_at": self.made_at})
        before = f'{head.removesuffix("}").rstrip()},\n  "files": [\n    '
        for line in self._members:
            yield f"{before}{line.rstrip()}".encode()
            before = ",\n    "
        yield b"\n  ]\n}\n"


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
