"""The user's files in an export: those that a store of ``FILE_STORES`` has, and a list of all of them."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import IO, Any

from privacy.archive.zip_file import Archive, ExportedFile
from privacy.file_stores.addresses import Elsewhere
from privacy.file_stores.stored_file import locate
from privacy.json_schemas import array_of, object_of

SECTION = "files"
SCHEMA = array_of(
    object_of(
        {
            "section": {"type": "string", "description": "The part of the export that has the address."},
            "address": {"type": "string"},
            "file": {"type": ["string", "null"], "description": "The file in this zip, or null."},
            "state": {
                "type": "string",
                "description": "included: in this zip. elsewhere: in a storage that FindMe cannot read. missing: the storage has no such file.",
            },
        }
    )
)
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}")


class Addresses:
    """The addresses of the user's files, in a temporary file without a name: the files are read after the transaction that reads the rows."""

    def __init__(self) -> None:
        self._file: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  # closed by close
        self.count = 0

    def add(self, section: str, addresses: Iterable[str]) -> None:
        for address in addresses:
            self._file.write(f"{json.dumps([section, address])}\n")
            self.count += 1

    def __iter__(self) -> Iterator[tuple[str, str]]:
        self._file.seek(0)
        for line in self._file:
            section, address = json.loads(line)
            yield section, address

    def close(self) -> None:
        self._file.close()


def write_files(archive: Archive, addresses: Iterable[tuple[str, str]]) -> ExportedFile:
    """Write the files, then ``files.json``. Raise StoreUnavailable if a store cannot be reached, because the export would be incomplete."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as rows:
        for number, (section, address) in enumerate(addresses, 1):
            rows.write(f"{json.dumps(_write_file(archive, number, section, address))}\n")
        rows.seek(0)
        return archive.write_section(SECTION, map(json.loads, rows), SCHEMA)


def _write_file(archive: Archive, number: int, section: str, address: str) -> dict[str, Any]:
    found = locate(address)
    if isinstance(found, Elsewhere):
        return {"section": section, "address": address, "file": None, "state": "elsewhere"}
    if found.size() is None:
        return {"section": section, "address": address, "file": None, "state": "missing"}
    ending = PurePosixPath(found.path).suffix
    name = f"{SECTION}/{section}/{number:06}{ending if _ENDING.fullmatch(ending) else ''}"
    archive.write(name, found.chunks(), compressed=False)  # videos are compressed already
    return {"section": section, "address": address, "file": name, "state": "included"}
