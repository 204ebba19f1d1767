"""All writers of a storm of erasures, for the storm on PostgreSQL only and for the one with Qdrant."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from uuid import UUID

from tests.privacy.orm.stale import Outcome
from tests.privacy.storm.commands import Commands
from tests.privacy.storm.erasers import Eraser
from tests.privacy.storm.ledger import Ledger, back
from tests.privacy.storm.lives import make_lives, make_videos_to_move, mark
from tests.privacy.storm.loader import Loader
from tests.privacy.storm.stale_writer import StaleWriter
from tests.support.database import Database

LIVES = 100
ERASED = 0.6
"""Share of the users that may be erased. The others are for writes that must succeed."""


class Erasures:
    """Erase users while programs write stale objects and old copies of them. Other writers change ``others``, and some of these are erased too."""

    def __init__(self, database: Database, seed: int, others: list[UUID], environment: dict[str, str], folder: Path) -> None:
        self.database, self.ledger, self.over = database, Ledger(), threading.Event()
        chance = random.Random(f"erasures {seed}")  # the other writers use other ids
        self.lives = make_lives(chance, LIVES)
        victims = chance.sample(self.lives, int(ERASED * LIVES))
        self.commands = Commands(environment, folder)
        self.eraser = Eraser(database, seed, victims, others, self.ledger, self.over)
        self.stale = StaleWriter(seed + 1, self.lives, make_videos_to_move(), self.ledger, self.over)
        self.loader = Loader(seed + 2, self.lives, self.ledger, self.over, self.commands, folder)
        self.threads = (self.eraser, self.stale, self.loader)

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Wait for the end of each program, and raise its error."""
        self.end()
        for thread in self.threads:
            if thread.error is not None:
                raise thread.error

    def end(self) -> None:
        self.over.set()
        for thread in self.threads:
            if thread.ident is not None:
                thread.join(200)
                assert not thread.is_alive(), f"{type(thread).__name__} does not end"
        self.commands.end()

    def findings(self) -> list[str]:
        """Return a line for each user or datum that exists again, and for each writer that did not really write."""
        with self.database.connect() as session:
            lines = back(session, self.ledger)
        lines += self._words_of_the_erased()
        lines += [f"{way.name}: never {outcome}" for way, outcome in self.stale.missing()]
        lines += [f"{command}: never {what}" for command, what in self.loader.missing()]
        return lines + self.eraser.missing()

    def _words_of_the_erased(self) -> list[str]:
        """Search for the words in all texts of all tables, whatever the owners of the data declare."""
        erased_ids, lines = self.ledger.deleted | self.ledger.anonymized, []
        with self.database.connect() as session:
            for (table,) in session.execute("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'").fetchall():
                text = "\n".join(row for (row,) in session.execute(f"SELECT t::text FROM {table} t".encode()))
                lines += [f"{table}: a word of the erased user {user_id}" for user_id in erased_ids if mark(user_id) in text]
        return lines

    def report(self) -> str:
        counts, ledger = self.stale.counts, self.ledger
        outcomes = {outcome.name.lower(): sum(count for (_, one), count in counts.items() if one == outcome) for outcome in Outcome}
        return (
            f"stale writes {self.stale.writes}: {outcomes}, in vain {self.stale.in_vain}; erased {dict(self.eraser.counts)}, not done"
            f" {self.eraser.not_done}; users anonymized {len(ledger.anonymized | ledger.kept.keys())}, deleted {len(ledger.deleted)};"
            f" loads {self.loader.runs}: {dict(self.loader.counts)}, deadlocks {self.loader.deadlocks}"
        )
