"""A program that loads old copies of users during their erasure, by ``loaddata`` and ``upsert_embeddings`` in other processes."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from pathlib import Path
from uuid import UUID

import numpy as np
from django.core import serializers

from tests.factories import unit_vector
from tests.privacy.orm.stale import PROTECTED, read
from tests.privacy.storm.commands import Commands
from tests.privacy.storm.ledger import Ledger
from tests.privacy.storm.program import Program
from vectorstore.ingest.rows import Kind

IN_A_FILE = 10
"""Number of users, of which some are erased."""
ALL = {("loaddata", "loaded"), ("loaddata", "refused"), ("upsert_embeddings", "loaded"), ("upsert_embeddings", "refused")}
REFUSED_ROWS = "of users who were anonymized or deleted for good"
DEADLOCK = "deadlock detected"


class Loader(Program):
    """Load copies from before the storm. Each load must leave out the erased users and load the others."""

    pause_seconds = 0.05

    def __init__(self, seed: int, lives: list[UUID], ledger: Ledger, over: threading.Event, commands: Commands, folder: Path) -> None:
        super().__init__(over)
        self.ledger, self.commands, self.folder = ledger, commands, folder
        self.random = random.Random(seed)
        self.options: list[str] = []
        """Options of ``upsert_embeddings``."""
        self.groups = [lives[first : first + IN_A_FILE] for first in range(0, len(lives), IN_A_FILE)]
        self.counts: Counter[tuple[str, str]] = Counter()
        """Number of rows by command. For ``loaddata``, the number of runs that left out rows."""
        self.runs = self.deadlocks = 0
        for number, group in enumerate(self.groups):
            self._write_copies(number, group)

    def _write_copies(self, number: int, group: list[UUID]) -> None:
        dump = [one for model in PROTECTED for one in read(model, group)]
        self._file(number, "json").write_text(serializers.serialize("json", dump))
        lines = [{"user_id": str(one), "vector": unit_vector(1000 + place), "interests": ["old"]} for place, one in enumerate(group)]
        self._file(number, "jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        vectors = np.array([unit_vector(2000 + place) for place in range(len(group))], dtype=np.float32)
        np.savez(self._file(number, "npz"), user_ids=np.array([str(one) for one in group]), vectors=vectors)

    def _file(self, number: int, ending: str) -> Path:
        return self.folder / f"copy{number}.{ending}"

    def work(self) -> None:
        for _ in self.turns():
            self._load(self._number())

    def missing(self) -> set[tuple[str, str]]:
        return {one for one in ALL if not self.counts[one]}

    def _number(self) -> int:
        """Return a file, mostly with some erased users."""
        some = [number for number, group in enumerate(self.groups) if 0 < len(self.ledger.begun.intersection(group)) < len(group)]
        return self.random.choice(some if some and self.random.random() < 0.8 else range(len(self.groups)))

    def _load(self, number: int) -> None:
        self.runs += 1
        if self.random.random() < 0.5:
            self._loaddata(self._file(number, "json"))
        else:
            self._upsert(self._file(number, self.random.choice(("jsonl", "npz"))))

    def _loaddata(self, path: Path) -> None:
        code, output = self.commands.run("loaddata", path)
        if code == 2 and DEADLOCK in output:
            self.deadlocks += 1
            return
        assert code in (0, 1), output
        assert (REFUSED_ROWS in output) == (code == 1), output
        installed = int(output.partition("Installed ")[2].split()[0])
        self.counts["loaddata", "loaded"] += installed
        self.counts["loaddata", "refused"] += code == 1

    def _upsert(self, path: Path) -> None:
        code, output = self.commands.run("upsert_embeddings", path, "--json", *self.options)
        if code == 2 and DEADLOCK in output:
            self.deadlocks += 1
            return
        assert code in (0, 1), output
        result = json.loads(output[output.index("{") : output.rindex("}") + 1])
        assert result["reasons"].keys() <= {Kind.DELETED_USER, Kind.UNKNOWN_USER}, output
        self.counts["upsert_embeddings", "loaded"] += result["loaded"]
        self.counts["upsert_embeddings", "refused"] += result["rejected"]
