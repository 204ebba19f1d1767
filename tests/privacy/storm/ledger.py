"""Record of the erasures during a storm, and of the data that exist again at its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg

from findme.core.db.violations import OF_ERASED_USER
from tests.privacy.leftovers import Values, left_over, rows_of
from tests.privacy.orm.stale import user_named


class Ledger:
    """Shared by all threads of a storm. An id is in ``begun`` before its erasure, and in one of the other sets after the commit."""

    def __init__(self) -> None:
        self.begun: set[UUID] = set()
        self.deleted: set[UUID] = set()
        self.anonymized: set[UUID] = set()
        self.kept: dict[UUID, Values] = {}
        """Data that the guide's statement leaves, by user. It clears only five columns of ``users``."""

    def allows(self, error: psycopg.errors.CheckViolation) -> bool:
        """Return whether the error refuses data of a user whose erasure has begun."""
        return error.diag.constraint_name == f"{error.diag.table_name}{OF_ERASED_USER}" and user_named(error) in self.begun

    def erased(self) -> set[UUID]:
        return self.deleted | self.anonymized | self.kept.keys()


def back(session: psycopg.Connection[Any], ledger: Ledger) -> list[str]:
    """Return a line for each row of a deleted user, each value of an anonymized user, and each erasure without a row in PostgreSQL."""
    return [*_of_deleted(session, ledger), *_of_anonymized(session, ledger), *_forgotten(session, ledger)]


def _of_deleted(session: psycopg.Connection[Any], ledger: Ledger) -> Iterator[str]:
    for table, key, _ in rows_of(session, ledger.deleted):
        yield f"{table} {key}: a row of a user who was deleted for good"


def _of_anonymized(session: psycopg.Connection[Any], ledger: Ledger) -> Iterator[str]:
    for table, key, column in left_over(session, ledger.anonymized - ledger.deleted):
        yield f"{table} {key}: {column} has data of a user who was anonymized"
    for user_id in ledger.kept.keys() - ledger.anonymized - ledger.deleted:
        for place, value in left_over(session, [user_id]).items():
            if place not in ledger.kept[user_id] or ledger.kept[user_id][place] != value:
                yield f"{' '.join(place)}: data of a user who was anonymized by the guide's statement"


def _forgotten(session: psycopg.Connection[Any], ledger: Ledger) -> Iterator[str]:
    noted: dict[UUID, bool] = dict(session.execute("SELECT user_id, deleted FROM erased_users").fetchall())
    for user_id in ledger.erased():
        if user_id not in noted or (user_id in ledger.deleted and not noted[user_id]):
            yield f"{user_id}: erased_users does not have the erasure"
