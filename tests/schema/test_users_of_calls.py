"""The two users of a call are those of its match, in either order. The two users of a match never change."""

from __future__ import annotations

import pytest
from django.db import transaction

from tests.schema.rows import ANN, BOB, CEM, CHECK, MATCH, UNUSED_ID, ask, insert, refused, settle, update
from tests.support.database import role

RULE, OF_MATCH = "video_calls_users_of_match_check", "matches_users_check"


# --- Calls ----------------------------------------------------------------------------------------------------------------------------


def test_call__either_user_can_be_the_caller(users: None) -> None:
    insert("video_calls", caller_id=ANN, callee_id=BOB)
    insert("video_calls", caller_id=BOB, callee_id=ANN)
    settle()


def test_call__cannot_move_to_a_match_of_other_users(users: None) -> None:
    call, others = insert("video_calls"), insert("matches", user_id=BOB, matched_user_id=CEM)
    with refused(RULE, CHECK):
        update("video_calls", call, match_id=others)


def test_call__can_move_together_with_its_users(users: None) -> None:
    call, others = insert("video_calls"), insert("matches", user_id=BOB, matched_user_id=CEM)
    update("video_calls", call, match_id=others)
    update("video_calls", call, caller_id=CEM)
    settle()


def test_call__can_be_loaded_before_its_match(users: None) -> None:
    insert("video_calls", match_id=UNUSED_ID, callee_id=CEM)
    insert("matches", id=UNUSED_ID, user_id=ANN, matched_user_id=CEM)
    settle()


def test_call__loaded_before_a_match_of_other_users__is_refused(users: None) -> None:
    with refused(RULE, CHECK):
        insert("video_calls", match_id=UNUSED_ID)
        insert("matches", id=UNUSED_ID, user_id=ANN, matched_user_id=CEM)


def test_call__wrong_at_first__is_accepted_if_it_was_corrected_or_deleted(users: None) -> None:
    corrected, deleted = insert("video_calls", callee_id=CEM), insert("video_calls", callee_id=CEM)
    update("video_calls", corrected, callee_id=BOB)
    ask("DELETE FROM video_calls WHERE id = %s", deleted)
    settle()


def test_call__wrong_and_with_another_id_since__is_refused(users: None) -> None:
    with refused(RULE, CHECK):
        update("video_calls", insert("video_calls", callee_id=CEM), id=UNUSED_ID)


def test_call__other_changes__are_not_checked_as_with_a_foreign_key(users: None) -> None:
    ask("SET LOCAL session_replication_role = replica")
    wrong = insert("video_calls", callee_id=CEM)
    ask("SET LOCAL session_replication_role = origin")
    ask("UPDATE video_calls SET status = 'missed', caller_id = caller_id WHERE id = %s", wrong)
    settle()


def test_call__users_changed_by_a_trigger_of_another_program__is_refused(users: None) -> None:
    """The statement does not name the column that the trigger changes."""
    call = insert("video_calls")
    settle()
    ask(
        f"CREATE FUNCTION foreign_function() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.callee_id = '{CEM}'; RETURN NEW; END $$;"
        " CREATE TRIGGER foreign_trigger BEFORE UPDATE ON video_calls FOR EACH ROW EXECUTE FUNCTION foreign_function()"
    )
    with refused(RULE, CHECK):
        update("video_calls", call, status="missed")


def test_call__replica__is_not_checked_as_with_a_foreign_key(users: None) -> None:
    ask("SET LOCAL session_replication_role = replica")
    insert("video_calls", callee_id=CEM)
    update("matches", MATCH, matched_user_id=CEM)
    settle()


# --- Matches --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_calls", [False, True])
def test_match__cannot_change_its_users(users: None, has_calls: bool) -> None:
    if has_calls:
        insert("video_calls")
    with refused(OF_MATCH, CHECK):
        update("matches", MATCH, matched_user_id=CEM)
    with refused(OF_MATCH, CHECK):
        update("matches", MATCH, user_id=CEM)


def test_match_and_calls__cannot_change_together(users: None) -> None:
    call = insert("video_calls")
    with refused(OF_MATCH, CHECK):
        update("video_calls", call, callee_id=CEM)
        update("matches", MATCH, matched_user_id=CEM)


@pytest.mark.parametrize("has_calls", [False, True])
def test_match__can_swap_its_users(users: None, has_calls: bool) -> None:
    if has_calls:
        insert("video_calls")
    update("matches", MATCH, user_id=BOB, matched_user_id=ANN)
    settle()


def test_matches__cannot_exchange_their_ids(users: None) -> None:
    """The foreign key would allow it at the end of the transaction, and the calls would have other users."""
    insert("video_calls")
    others = insert("matches", user_id=BOB, matched_user_id=CEM)
    with refused(OF_MATCH, CHECK):
        update("matches", MATCH, id=UNUSED_ID)
        update("matches", others, id=MATCH)


def test_match__same_row_again__is_accepted(users: None) -> None:
    ask("UPDATE matches SET id = id, user_id = user_id, matched_user_id = matched_user_id")
    ask(
        "INSERT INTO matches (id, user_id, matched_user_id, week_number, year, match_score, expires_at) VALUES (%s, %s, %s, 1, 1999, 1, now())"
        " ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id, matched_user_id = excluded.matched_user_id",
        MATCH,
        ANN,
        BOB,
    )
    settle()


def test_match__is_deleted_with_its_calls(users: None) -> None:
    insert("video_calls")
    ask("DELETE FROM matches WHERE id = %s", MATCH)
    settle()
    assert ask("SELECT count(*) FROM video_calls") == [(0,)]


# --- Other roles ----------------------------------------------------------------------------------------------------------------------


def test_role__that_may_only_insert_calls__is_checked_and_cannot_replace_the_tables(users: None) -> None:
    """As with a foreign key, the role needs no privilege on matches. Its temporary tables and functions are not used."""
    with role() as (name, _), transaction.atomic():
        ask(f"GRANT INSERT ON video_calls TO {name}")
        ask(f"SET LOCAL ROLE {name}")
        ask("CREATE TEMP TABLE matches (id uuid, user_id uuid, matched_user_id uuid) ON COMMIT DROP")
        ask("CREATE TEMP TABLE video_calls (id uuid) ON COMMIT DROP")
        ask("INSERT INTO pg_temp.matches VALUES (%s, %s, %s)", MATCH, ANN, CEM)
        new = "INSERT INTO public.video_calls (match_id, caller_id, callee_id, session_id) VALUES (%s, %s, %s, 'role')"
        ask(new, MATCH, ANN, BOB)
        settle()
        with refused(RULE, CHECK):
            ask(new.replace("role", "other"), MATCH, ANN, CEM)
        transaction.set_rollback(True)
