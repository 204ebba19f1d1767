"""``ledger_keys``: create or rotate the keys of the erasure ledger."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from findme.core.commands.base import FindmeCommand
from findme.core.errors import UserFacingError
from privacy.ledger.key_files import require_own_folder
from privacy.ledger.keys import create_keys, rotate_keys, subject_keys
from privacy.ledger.signing import create_signing_key, rotate_signing_key, verifying_keys

CREATE = {"ERASURE_LEDGER_KEYS": create_keys, "PRIVACY_SIGNING_KEY": create_signing_key}


@dataclass(frozen=True, slots=True)
class LedgerKeys:
    """The files that were written, by setting, and those that existed."""

    written: dict[str, Path]
    unchanged: dict[str, Path]


class Command(FindmeCommand):
    help = "Create the files of keys that ERASURE_LEDGER_KEYS and PRIVACY_SIGNING_KEY name, if they are missing, or rotate the keys."
    after_interrupt = "Each file is either the old one or the complete new one."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--rotate", action="store_true", help="add new current keys; the old ones stay for old entries and signatures")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, rotate: bool, json: bool, **options: Any) -> None:
        paths = {name: _path(name) for name in CREATE}
        missing = {name: path for name, path in paths.items() if not path.exists()}
        for name, path in (paths if rotate else missing).items():
            require_own_folder(name, path)
        if rotate and missing:
            name, path = next(iter(missing.items()))
            raise UserFacingError(
                f"{name}: there is no file {str(path)!r}: nothing was changed. Run manage.py ledger_keys without --rotate."
            )
        if rotate:
            rotate_keys(paths["ERASURE_LEDGER_KEYS"], subject_keys())
            rotate_signing_key(paths["PRIVACY_SIGNING_KEY"], verifying_keys())
        for name, path in missing.items():
            CREATE[name](path)
        written = paths if rotate else missing
        result = LedgerKeys(written, {name: path for name, path in paths.items() if name not in written})
        if json:
            self.print_json(result)
            return
        for name, path in result.written.items():
            self.print_line(f"{name}: {path} was written. Back it up now, away from the database and its backups.")
        for name, path in result.unchanged.items():
            self.print_line(f"{name}: {path} exists and was not changed.")


def _path(name: str) -> Path:
    if not getattr(settings, name):
        raise UserFacingError(f"{name} is not set: nothing was changed. Set it to the path of a file that only this account can read.")
    return Path(getattr(settings, name))
