"""Working the queue off: what ``sync_qdrant --once`` does, and what ``--watch`` does again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from django.db import InterfaceError, OperationalError, connection

from findme.console.command import one_line
from findme.console.errors import StoreUnavailable
from vectorstore.collection import live_collection
from vectorstore.connection import qdrant
from vectorstore.errors import CollectionMissing
from vectorstore.sync import standing
from vectorstore.sync.lease import LeaseLost, arm_second_looks, database_clock
from vectorstore.sync.queue import Backlog, backlog, is_empty
from vectorstore.sync.settings import check_settings
from vectorstore.sync.work import BATCH_SIZE, Done, work

TIMEOUT_SECONDS = 300.0
POLL_SECONDS = 0.2
SHORTEST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
"""Between two tries while a store is away: each is twice the one before."""


@dataclass(frozen=True, slots=True)
class Synced:
    """Points written, points that were there and are gone, people set aside; what is left; and, where a store was away to the end, why."""

    written: int
    removed: int
    set_aside: int
    left: Backlog
    away: str | None = None


Tell = Callable[[Done], None]
TellAway = Callable[[str], None]


def untold(_said: object) -> None:
    """For a caller who does not want to know."""


@dataclass
class Worker:
    """Works batch after batch. A store that is away is told of once, and tried again with ever longer pauses."""

    batch_size: int = BATCH_SIZE
    tell: Tell = untold
    tell_away: TellAway = untold
    id: UUID = field(default_factory=uuid4)
    away: str | None = None
    pause: float = SHORTEST_PAUSE

    def step(self) -> Done | None:
        """One batch; None where there was nobody to claim, or a store was away (``away`` says why, and ``pause`` how long to wait)."""
        try:
            done = work(self.id, self.batch_size)
            if done is None:
                self._ask_for_the_waiting()
        except LeaseLost as error:
            self.is_away(error)
            return None
        except (StoreUnavailable, OperationalError, InterfaceError) as error:
            if isinstance(error, OperationalError | InterfaceError):
                connection.close()
            self.is_away(error)
            return None
        self.away, self.pause = None, SHORTEST_PAUSE
        if done is not None:
            self.tell(done)
        return done

    def is_away(self, error: Exception) -> None:
        if self.away is None:
            self.tell_away(one_line(error))
        else:
            self.pause = min(2 * self.pause, LONGEST_PAUSE)
        self.away = one_line(error)

    def _ask_for_the_waiting(self) -> None:
        """Second looks whose wait has not begun need an answer of Qdrant's, and there is no work to bring one."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM vector_sync_queue WHERE awaits_answer)")
            waiting = cursor.fetchone()[0]
        if waiting:
            sent_at = database_clock()
            with qdrant() as client:
                client.get_collections()
            arm_second_looks(sent_at)


def sync_once(
    *,
    batch_size: int = BATCH_SIZE,
    timeout: float = TIMEOUT_SECONDS,
    tell: Tell = untold,
    tell_away: TellAway = untold,
) -> Synced:
    """Work until the queue is empty: also what other workers hold, leases of dead ones, second looks, a store that is away are waited for, at most
    TIMEOUT seconds without a batch done by anybody.

    Raises NotDone for a wrong setting, another database's collection, and a collection that was never made: waiting mends none of them.
    """
    check_settings()
    _prove_at_once()
    worker = Worker(batch_size, tell, tell_away)
    totals = Done()
    seen, deadline = None, time.monotonic() + timeout
    while not _is_over():
        done = worker.step()
        if done is not None:
            totals += done
            deadline = time.monotonic() + timeout
            continue
        if worker.away is None and (length := backlog().length) != seen:  # others get on
            seen, deadline = length, time.monotonic() + timeout
        if time.monotonic() >= deadline:
            break
        time.sleep(worker.pause if worker.away else POLL_SECONDS)
    return Synced(totals.written, totals.removed, len(totals.refused), backlog(), worker.away)


def _prove_at_once() -> None:
    """A store that is away is waited for; what no waiting mends is said at once."""
    try:
        with qdrant() as client:
            live_collection(client)
            standing.prove(client)
    except CollectionMissing:
        raise
    except StoreUnavailable:
        return


def _is_over() -> bool:
    try:
        return is_empty()
    except (OperationalError, InterfaceError):
        connection.close()
        return False
