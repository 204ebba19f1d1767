"""Read every byte of a backup, and compare it with its manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from backups.management.backup_arguments import add_source, open_source
from backups.streams.keys import read_identities
from backups.verify import verify_backup
from findme.core.commands.base import FindmeCommand
from findme.core.commands.progress import progress
from findme.core.plurals import counted
from privacy.ledger.signing import verifying_keys


class Command(FindmeCommand):
    help = "Read every byte of a backup, and compare it with its signed manifest."
    after_interrupt = "Nothing was changed. Run it again: it starts from the beginning."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        add_source(parser)
        parser.add_argument(
            "--identity", type=Path, metavar="FILE", help="the secret key of age: also decrypt the files, and compare their content"
        )
        parser.add_argument(
            "--public-keys", type=Path, metavar="FILE", help="the public keys of the signature (default: those of PRIVACY_SIGNING_KEY)"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON document, with the manifest")

    def handle(self, *args: Any, **options: Any) -> None:
        destination, name = open_source(options["source"])
        identities = read_identities(options["identity"]) if options["identity"] else ()
        with progress("Verifying, bytes") as report:
            found = verify_backup(destination, name, verifying_keys(options["public_keys"]), identities, report)
        if options["json"]:
            self.print_json(found)
            return
        files = counted(len(found.manifest.files), "file")
        if found.is_decrypted:
            self.print_line(f"{name}: {files}, size and checksum as in the manifest, before and after compression.")
        else:
            self.print_line(f"{name}: {files}, size and checksum as in the manifest. The content is encrypted: --identity compares it too.")
