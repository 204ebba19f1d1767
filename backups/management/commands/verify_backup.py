"""Read every byte of a backup, and compare it with its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from backups.management.backup_arguments import add_source, open_source
from backups.management.proofs import add_servers, describe_proof
from backups.proof.deep import verify_deep
from backups.qdrant import Servers
from backups.streams.keys import Identity, read_identities
from backups.verify import Verified, verify_backup
from findme.core.commands.base import FindmeCommand
from findme.core.commands.progress import progress
from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from privacy.ledger.signing import verifying_keys


class Command(FindmeCommand):
    help = "Read every byte of a backup, and compare it with its signed manifest. With --deep, restore it apart from the live stores too."
    after_interrupt = "Nothing was changed, and what was restored was dropped. Run it again: it starts from the beginning."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        add_source(parser)
        parser.add_argument(
            "--identity", type=Path, metavar="FILE", help="the secret key of age: also decrypt the files, and compare their content"
        )
        parser.add_argument(
            "--public-keys", type=Path, metavar="FILE", help="the public keys of the signature (default: those of PRIVACY_SIGNING_KEY)"
        )
        parser.add_argument(
            "--deep", action="store_true", help="restore it into a scratch database and a scratch collection, compare them, and drop them"
        )
        parser.add_argument(
            "--other-database", action="store_true", help="with --deep: the backup may be of another database than that of DATABASE_URL"
        )
        add_servers(parser)
        parser.add_argument("--json", action="store_true", help="print one JSON document, with the manifest")

    def handle(self, *args: Any, **options: Any) -> None:
        identities = read_identities(options["identity"]) if options["identity"] else ()
        if not options["deep"] and (options["other_database"] or options["node"]):
            raise UserFacingError("--other-database and --node are for --deep: nothing was done. Add --deep, or omit them.")
        if options["deep"]:
            self._verify_deep(identities, options)
        else:
            self._verify(identities, options)

    def _verify(self, identities: Sequence[Identity], options: dict[str, Any]) -> None:
        destination, name = open_source(options["source"])
        with progress("Verifying, bytes") as report:
            found = verify_backup(destination, name, verifying_keys(options["public_keys"]), identities, report)
        if options["json"]:
            self.print_json(found)
            return
        self.print_line(_describe(found))

    def _verify_deep(self, identities: Sequence[Identity], options: dict[str, Any]) -> None:
        destination, name = open_source(options["source"])
        servers = Servers(tuple(options["node"]), options["wait"])
        with progress("Verifying") as report, self.printed_steps("findme.backups", as_json=options["json"]):
            manifest, proof = verify_deep(
                destination,
                name,
                verifying_keys(options["public_keys"]),
                identities,
                servers,
                is_other_database=options["other_database"],
                report=report,
            )
        if options["json"]:
            self.print_json({"manifest": manifest, "is_decrypted": True, "proof": proof})
            return
        for line in (_describe(Verified(manifest, is_decrypted=True)), *describe_proof(name, proof)):
            self.print_line(line)


def _describe(found: Verified) -> str:
    """Return what was compared without a restore."""
    begun = f"{found.manifest.name}: {counted(len(found.manifest.files), 'file')}, size and checksum as in the manifest"
    return (
        f"{begun}, before and after compression."
        if found.is_decrypted
        else f"{begun}. The content is encrypted: --identity compares it too."
    )
