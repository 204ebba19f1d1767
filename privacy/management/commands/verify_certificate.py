"""``verify_certificate``: verify a certificate of an erasure with the public key and a copy of the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from findme.core.commands.base import FindmeCommand
from findme.core.errors import UserFacingError
from privacy.certificates.verify import verify_certificate
from privacy.ledger.signing import verifying_keys
from privacy.models import ErasureStep


class Command(FindmeCommand):
    help = "Verify a certificate of an erasure: its signature, and that the ledger has its entry. It needs no database and no settings."
    after_interrupt = "Nothing was changed."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="the output of erasure_certificate")
        parser.add_argument("--public-keys", type=Path, required=True, metavar="FILE", help="the public keys, in PEM")
        parser.add_argument(
            "--ledger", type=Path, required=True, metavar="FOLDER", help="the files of the ledger outside, or a copy of them"
        )
        parser.add_argument("--json", action="store_true", help="print the contents of the certificate as one JSON document")

    def handle(self, *args: Any, file: Path, public_keys: Path, ledger: Path, json: bool, **options: Any) -> None:
        contents = verify_certificate(_read(file), verifying_keys(public_keys), ledger)
        if json:
            self.print_json(contents)
            return
        entry, head = contents["entry"]["position"], contents["head"]["position"]
        self.print_line(f"The certificate of request {contents['request']} is valid.")
        self.print_line(
            f"The ledger has its entry {entry}, and continues to entry {head}, which was the last one at {contents['issued_at']}."
        )
        self.print_line(f"Erased: {contents['erased_at'] or 'not completely'}. Purged: {contents['purged_at'] or 'not yet'}.")
        for hold in contents["holds"]:
            self.print_line(f"On hold: {hold['section']}, article {hold['ground']}, until {hold['until'] or 'it is released'}.")
        for step in contents["steps"]:
            if step["step"] in contents["open_steps"]:
                self.print_line(_line(step))


def _line(step: dict[str, Any]) -> str:
    """Return what an open step waits for."""
    name = dict(ErasureStep.Step.choices).get(step["step"], step["step"])
    reason = dict(ErasureStep.WaitsFor.choices).get(step["waits_for"], step["waits_for"]) or "the next run of process_requests"
    until = f" until {step['waits_until']}" if step["waits_until"] else ""
    return f"{name}: waits for {reason}{until}."


def _read(file: Path) -> str:
    try:
        return file.read_text("ascii")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UserFacingError(f"{str(file)!r} cannot be read ({reason}). Pass the output of manage.py erasure_certificate.") from None
