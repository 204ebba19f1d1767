"""The repair of triggers waits for uncaptured transactions, and makes no writer fail."""

from __future__ import annotations

import pytest
from django.db import connection

from findme.core.errors import UserFacingError
from findme.core.triggers.problems import trigger_problems
from findme.migrator.timeouts import MigrationTimeouts
from findme.migrator.trigger_repair import repair_triggers
from tests.findme.migrator.undoing import PERSON
from tests.support.database import Database
from tests.support.threads import in_thread
from tests.support.waiting import wait_until

COMMAND = "verify_qdrant --repair"


def test_repair__function__waits_for_transactions_that_it_did_not_capture(migrated: Database) -> None:
    """Otherwise the comparison would not see the changes of such a transaction, and no queue entry would name them."""
    migrated.execute("ALTER FUNCTION vector_sync_users_inserted() RESET search_path")
    with migrated.connect() as writer:
        writer.execute("BEGIN")
        writer.execute(PERSON.encode())
        with pytest.raises(UserFacingError, match=r"^The triggers were not repaired: canceling statement due to lock timeout"):
            repair_triggers(COMMAND, timeouts=MigrationTimeouts(5, 0.1, 1))
        writer.execute("COMMIT")
    assert len(repair_triggers(COMMAND)) == 1


def test_repair__writer_that_holds_one_table_and_waits_for_the_other__does_not_fail(migrated: Database) -> None:
    """PostgreSQL checks for a deadlock once, after a session has waited for a while. A writer that begins to wait later would fail."""
    migrated.execute("ALTER TABLE users DISABLE TRIGGER USER; ALTER TABLE profile_embeddings DISABLE TRIGGER USER")

    def mend() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET deadlock_timeout = '100s'")
        repair_triggers(COMMAND, timeouts=MigrationTimeouts(5, 100, 10), on_warning=lambda _: None)

    with migrated.connect() as writer:
        writer.execute("BEGIN")
        writer.execute(PERSON.encode())
        with in_thread(mend):
            wait_until(migrated.waits_for_a_lock)
            writer.execute("INSERT INTO profile_embeddings (user_id, vector) SELECT id, array_fill(0.5::real, ARRAY[512]) FROM users")
            writer.execute("COMMIT")
    assert trigger_problems() == ()
    assert migrated.query("SELECT count(*) FROM profile_embeddings") == [1]


def test_repair__constraint_trigger_that_is_dropped__lets_a_reader_write_first(migrated: Database) -> None:
    """DROP TRIGGER waits for readers. After a weaker lock, the reader would wait for the repair too, and one of them would fail."""
    migrated.execute(PERSON)
    migrated.execute(
        "DROP TRIGGER video_calls_users_of_match_check ON video_calls; CREATE CONSTRAINT TRIGGER video_calls_users_of_match_check"
        " AFTER INSERT ON video_calls FOR EACH ROW EXECUTE FUNCTION require_users_of_match()"
    )
    with migrated.connect() as reader:
        reader.execute("BEGIN; SELECT FROM video_calls")
        with in_thread(lambda: repair_triggers(COMMAND, timeouts=MigrationTimeouts(5, 100, 1))):
            wait_until(migrated.waits_for_a_lock)
            reader.execute("DELETE FROM video_calls")
            reader.execute("COMMIT")
    assert trigger_problems() == ()


def test_repair__other_lock_timeout_of_the_session__is_restored(migrated: Database) -> None:
    migrated.execute(
        "ALTER TABLE users DISABLE TRIGGER vector_sync_deleted; ALTER TABLE profile_embeddings DISABLE TRIGGER vector_sync_deleted"
    )
    seen: list[str] = []

    def lock_timeout() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            seen.extend(cursor.fetchone())

    for seconds in (5.0, 0.2):
        migrated.execute("ALTER TABLE users DISABLE TRIGGER vector_sync_deleted")
        repair_triggers(COMMAND, timeouts=MigrationTimeouts(5, seconds, 1), before_commit=lock_timeout)
    lock_timeout()
    assert seen == ["500ms", "200ms", "0"]
