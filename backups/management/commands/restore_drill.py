"""Restore the newest backup of a destination apart from the live stores, as a drill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from backups.destinations.opening import open_destination
from backups.management.backup_arguments import add_destination
from backups.management.proofs import add_servers, describe_proof
from backups.proof.deep import verify_deep
from backups.proof.drill import newest_complete
from backups.qdrant import Servers
from backups.streams.keys import read_identities
from findme.core.commands.base import FindmeCommand
from findme.core.commands.progress import progress
from privacy.ledger.signing import verifying_keys


class Command(FindmeCommand):
    help = "Restore the newest complete backup into a scratch database and a scratch collection, compare them, and drop them."
    after_interrupt = "Nothing was changed, and what was restored was dropped. Run it again: it starts from the beginning."

    def add_arguments(self, parser: CommandParser) -> None:
        add_destination(parser)
        parser.add_argument("--identity", type=Path, metavar="FILE", help="the secret key of age, for encrypted backups")
        add_servers(parser)
        parser.add_argument("--json", action="store_true", help="print one JSON document, with the manifest")

    def handle(self, *args: Any, **options: Any) -> None:
        identities = read_identities(options["identity"]) if options["identity"] else ()
        destination, keys = open_destination(options["destination"]), verifying_keys()
        name = newest_complete(destination, keys)
        servers = Servers(tuple(options["node"]), options["wait"])
        with progress("Restoring") as report, self.printed_steps("findme.backups", as_json=options["json"]):
            manifest, proof = verify_deep(destination, name, keys, identities, servers, report=report)
        if options["json"]:
            self.print_json({"manifest": manifest, "proof": proof})
            return
        for line in describe_proof(name, proof):
            self.print_line(line)
