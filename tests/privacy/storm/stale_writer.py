"""A program that writes stale objects in every way of the ORM, also after their users were erased."""

from __future__ import annotations

import copy
import random
import threading
from collections import Counter, defaultdict
from typing import Any
from uuid import UUID

from django.db.models import Model

from accounts.models import User
from tests.privacy.orm.stale import PROTECTED, Outcome, again, attempt, read, twin, users_of
from tests.privacy.orm.ways import WAYS, Calls, Way
from tests.privacy.storm.ledger import Ledger
from tests.privacy.storm.program import Program
from vectorstore.models import ProfileEmbedding
from videos.models import Video

READ_AGAIN = 25
"""Number of writes between two reads of a user's rows."""


class StaleWriter(Program):
    """Write until the storm is over, each way was refused for erased users, and each way succeeded for others."""

    pause_seconds = 0.002

    def __init__(self, seed: int, lives: list[UUID], to_move: list[Video], ledger: Ledger, over: threading.Event) -> None:
        super().__init__(over)
        self.lives, self.to_move, self.ledger = lives, to_move, ledger
        self.random = random.Random(seed)
        self.stale: dict[UUID, dict[type[Model], list[Any]]] = {}
        self.counts: Counter[tuple[str, Outcome]] = Counter()
        """Outcomes by way. A write that succeeded counts as PASSED for living users. For an erased user it counts as IN_VAIN, and the end shows whether it was."""
        self.in_vain = 0

    @property
    def writes(self) -> int:
        return self.counts.total() + self.in_vain

    def missing(self) -> list[tuple[Way, Outcome]]:
        return [(way, outcome) for way in WAYS for outcome in (Outcome.PASSED, Outcome.REFUSED) if not self.counts[way.name, outcome]]

    def work(self) -> None:
        self._read(self.lives)
        for _ in self.turns():
            self._write(*self._chosen_way())

    def _read(self, user_ids: list[UUID]) -> None:
        for user_id in user_ids:
            self.stale[user_id] = defaultdict(list)
        for model in PROTECTED:
            for one in read(model, user_ids):
                for user_id in users_of(one) & set(user_ids):
                    self.stale[user_id][model].append(one)

    def _chosen_way(self) -> tuple[Way, bool]:
        """Return a way, and whether to write for an erased user. Ways with missing outcomes come first."""
        missing = self.missing()
        if missing and self.random.random() < 0.5:
            way, outcome = self.random.choice(missing)
            return way, outcome == Outcome.REFUSED
        return self.random.choice(WAYS), self.random.random() < 0.5

    def _write(self, way: Way, is_for_erased: bool) -> None:
        objects = self._objects(way, is_for_erased)
        if not objects:
            return
        isolation = self.random.choice(("READ COMMITTED",) * 3 + ("REPEATABLE READ",))
        outcome, named = attempt(way, Calls(is_async=self.random.random() < 0.3), objects, isolation)
        erased = set().union(*map(users_of, objects)) & self.ledger.begun
        self._check(outcome, named, erased, (way.name, isolation, objects, [one._state.adding for one in objects]))
        if outcome == Outcome.PASSED and erased:
            self.in_vain += 1
        else:
            self.counts[way.name, outcome] += 1
        if self.writes % READ_AGAIN == 0:
            self._read([one for one in [self.random.choice(self.lives)] if one not in self.ledger.begun])

    def _check(self, outcome: Outcome, named: UUID | None, erased: set[UUID], what: tuple[str, str, list[Any], list[bool]]) -> None:
        """Raise AssertionError for an error that no erasure explains."""
        if outcome == Outcome.REFUSED:
            assert named in self.ledger.begun, f"{named} was refused and is not erased"
        if outcome == Outcome.NO_USER or (outcome == Outcome.NO_ROW and not isinstance(what[2][0], ProfileEmbedding)):
            assert erased, f"{outcome}, and no user is erased: {what}"

    def _objects(self, way: Way, is_for_erased: bool) -> list[Any]:
        """Return the objects as they were read, as copies to insert again, or as other rows of the same users."""
        user_id = self._user(is_for_erased)
        models = [model for model, found in self.stale[user_id].items() if found and way.works_for(found[0])] if user_id else []
        if user_id is None or not models:
            return []
        model = self.random.choice(models)
        found = self.stale[user_id][model]
        kinds = [copy.copy] if not way.inserts else [again, twin] if not way.updates else [copy.copy, again, twin]
        kind = self.random.choice(kinds)
        if model is User and kind is twin and is_for_erased:
            kind = again  # the copy of a user is another user
        if model is Video and is_for_erased and not way.manager and self.random.random() < 0.3:
            return self._moved(found[0])
        return [kind(one) for one in found]

    def _user(self, is_for_erased: bool) -> UUID | None:
        erased = [one for one in list(self.ledger.begun) if one in self.stale]
        if is_for_erased:
            return self.random.choice(erased) if erased else None
        return self.random.choice(self.lives)

    def _moved(self, video: Any) -> list[Any]:
        """Return a video of another user, with the stale object of this one as its user."""
        other = copy.copy(self.random.choice(self.to_move))
        other.user = video.user
        return [other]
