-- The two users of a call are the users of its match, in either order. matching/migrations/sql/0001_users.up.sql keeps those of the match.
--
-- findme/core/triggers/definitions.py reads the definitions from this file. verify_qdrant --repair runs its statements again, so each must be repeatable.

-- AFTER INSERT OR UPDATE FOR EACH ROW, deferred. It runs with the owner's privileges, as the query of a foreign key does: a role that may only write
-- calls needs no privilege on matches. The lock is that of a foreign key: no other transaction can delete the match and reuse its id until this one
-- ends. If the row has changed again, NEW is not the current row, and the trigger also fires for the later change.
CREATE OR REPLACE FUNCTION require_users_of_match() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF TG_OP = 'UPDATE' AND (OLD.id, OLD.match_id, OLD.caller_id, OLD.callee_id) = (NEW.id, NEW.match_id, NEW.caller_id, NEW.callee_id) THEN
        RETURN NULL;
    END IF;
    -- PostgreSQL keeps the plan of a query that is not built by format(). A COPY of 100,000 calls takes two thirds of the CPU time. pg_catalog comes
    -- first, so no other role can define a name of the queries.
    PERFORM set_config('search_path', format('pg_catalog, %I, pg_temp', TG_TABLE_SCHEMA), true);
    PERFORM FROM matches WHERE id = NEW.match_id
        AND LEAST(user_id, matched_user_id) = LEAST(NEW.caller_id, NEW.callee_id)
        AND GREATEST(user_id, matched_user_id) = GREATEST(NEW.caller_id, NEW.callee_id) FOR KEY SHARE;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM FROM video_calls WHERE id = NEW.id AND match_id IS NOT DISTINCT FROM NEW.match_id
        AND caller_id IS NOT DISTINCT FROM NEW.caller_id AND callee_id IS NOT DISTINCT FROM NEW.callee_id;
    IF FOUND THEN
        RAISE EXCEPTION 'The two users of call % are not the users of match %.', NEW.id, NEW.match_id
            USING ERRCODE = 'check_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END;
$function$;

REVOKE ALL ON FUNCTION require_users_of_match() FROM PUBLIC;

-- Deferred, because calls can be loaded before their matches. CREATE CONSTRAINT TRIGGER has no OR REPLACE. Not ALWAYS: as a foreign key, it does not
-- fire with session_replication_role = replica. UPDATE names no columns, because a trigger of another program can change a column that the statement
-- does not name.
DROP TRIGGER IF EXISTS video_calls_users_of_match_check ON video_calls;
CREATE CONSTRAINT TRIGGER video_calls_users_of_match_check AFTER INSERT OR UPDATE ON video_calls
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_users_of_match();
