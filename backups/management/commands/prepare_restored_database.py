"""``prepare_restored_database``: after another tool has restored PostgreSQL, make the database fit to serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.management.base import CommandParser
from django.db import connection

from backups.restoring.fit import end_past, preview, register_collections
from findme.core.commands.base import FindmeCommand
from findme.core.commands.prompts import confirm


@dataclass(frozen=True, slots=True)
class Prepared:
    """``ended`` has a sentence for each thing that was ended. ``others`` are collections with a name of FindMe that are not this database's."""

    dry_run: bool
    ended: tuple[str, ...]
    live: str | None = None
    retained: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


class Command(FindmeCommand):
    help = "After another tool has restored PostgreSQL: end what the database remembers of the time of the backup, such as sessions, links and staff accounts."
    after_interrupt = "Run it again: it does the rest."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--copy",
            action="store_true",
            help="the database will serve next to the one that it was made of: give it an id and collections of its own",
        )
        parser.add_argument("--dry-run", action="store_true", help="only say what would be ended")
        parser.add_argument("--no-input", "--noinput", action="store_true", help="do not ask for confirmation")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, copy: bool, dry_run: bool, no_input: bool, json: bool, **options: Any) -> None:
        if dry_run:
            self._print(Prepared(True, tuple(preview())), as_json=json, copy=copy)
            return
        if not no_input:
            name = connection.settings_dict["NAME"]
            question = f"End all sessions and disable all staff accounts of the database {name!r}? [y/N] "
            confirm(question, "nothing was changed", self._prompt)
        ended = end_past(new_id=copy)
        found = register_collections(compared=copy)
        self._print(Prepared(False, tuple(ended), found.live, found.retained, found.others), as_json=json, copy=copy)

    def _prompt(self, text: str) -> None:
        self.stderr.write(text, ending="")
        self.stderr.flush()

    def _print(self, done: Prepared, *, as_json: bool, copy: bool) -> None:
        if as_json:
            self.print_json(done)
            return
        if done.dry_run:
            self.print_line("This would happen:")
        for sentence in done.ended:
            self.print_line(sentence)
        if done.dry_run:
            return
        if done.live is not None:
            self.print_line(f"The collection {done.live} is live.")
        for name in done.retained:
            self.print_line(f"The collection {name} is retained until you drop it.")
        for name in done.others:
            self.print_line(f"The collection {name} is not this database's, and is not touched.")
        if copy:
            self.print_line("Set QDRANT_COLLECTION and ERASURE_LEDGER_URL to values of its own. Then run manage.py init_qdrant.")
        elif done.live is None:
            self.print_line("Run manage.py init_qdrant, manage.py replay_erasures, and then manage.py verify_qdrant --repair.")
        else:
            self.print_line("Run manage.py replay_erasures, and then manage.py verify_qdrant --repair. No worker writes before that.")
