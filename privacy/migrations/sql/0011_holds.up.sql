-- A hold (article 17 (3) GDPR) keeps the rows of one section of a user, and the user's own row, until it is released or its last day is over.
--
-- Each app creates the triggers of its own tables. The functions run with the owner's privileges, so that no role needs a privilege on holds.
--
-- A deletion and a new hold must not pass each other. Each deletion takes the advisory lock 7021339562118411 shared, and a new hold takes it alone, until
-- the transaction ends: then one of them sees the other. A transaction in REPEATABLE READ or SERIALIZABLE does not see a hold that is newer than its
-- snapshot. So a new hold also writes the user's row, and such a transaction locks the rows of the users: it gets a serialization failure.
--
-- findme/core/triggers/definitions.py reads the definitions from this file. verify_qdrant --repair runs its statements again, so each must be repeatable.

-- BEFORE INSERT OR UPDATE OR DELETE ON holds FOR EACH ROW.
CREATE OR REPLACE FUNCTION check_hold() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    found integer;
    refused text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM pg_advisory_xact_lock(7021339562118411);
        EXECUTE format('UPDATE %I.users SET id = id WHERE id = $1', TG_TABLE_SCHEMA) USING NEW.user_id;
        GET DIAGNOSTICS found = ROW_COUNT;
        IF found = 0 THEN
            refused := format('there is no user %s', NEW.user_id);
        ELSIF NEW.released_at IS NOT NULL THEN
            refused := 'a new hold is not released';
        END IF;
    ELSIF TG_OP = 'UPDATE' THEN
        IF OLD.released_at IS NOT NULL OR NEW.released_at IS NULL
            OR (to_jsonb(NEW) - ARRAY['released_at', 'released_by_id', 'released_by_account'])
                <> (to_jsonb(OLD) - ARRAY['released_at', 'released_by_id', 'released_by_account']) THEN
            refused := 'only its release can be written, once';
        END IF;
    ELSIF coalesce(OLD.released_at, OLD.until + 1, 'infinity') > clock_timestamp() - interval '1095 days' THEN
        refused := 'it has not ended, or ended in the last three years: it cannot be deleted';
    END IF;
    IF refused IS NOT NULL THEN
        RAISE EXCEPTION 'Hold %: %.', coalesce(NEW.id, OLD.id), refused
            USING ERRCODE = 'restrict_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = 'holds_step_check';
    END IF;
    RETURN coalesce(NEW, OLD);
END;
$function$;

-- BEFORE TRUNCATE ON holds FOR EACH STATEMENT.
CREATE OR REPLACE FUNCTION refuse_truncation_of_holds() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RAISE EXCEPTION 'The table holds is a proof: TRUNCATE is refused.'
        USING ERRCODE = 'restrict_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
END;
$function$;

-- AFTER DELETE FOR EACH STATEMENT, with old_rows. The arguments are the section, empty for all, and the columns that refer to users.
CREATE OR REPLACE FUNCTION refuse_deletion_of_held_rows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    users text := (SELECT string_agg(format('SELECT r.%I', name), ' UNION ALL ') FROM unnest(string_to_array(TG_ARGV[1], ',')) AS name);
    hold record;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7021339562118411);
    IF TG_TABLE_NAME <> 'users' AND current_setting('transaction_isolation') <> 'read committed' THEN
        EXECUTE format($sql$
            SELECT FROM %1$I.users WHERE id IN (SELECT named.user_id FROM old_rows r CROSS JOIN LATERAL (%2$s) AS named(user_id))
            ORDER BY id FOR KEY SHARE
        $sql$, TG_TABLE_SCHEMA, users);
    END IF;
    -- The number of holds is small. OFFSET 0 keeps PostgreSQL from looking up each deleted row.
    EXECUTE format($sql$
        SELECT h.id, h.user_id FROM (
            SELECT * FROM %1$I.holds WHERE released_at IS NULL AND ($1 = '' OR section = $1)
            AND (until IS NULL OR until >= (clock_timestamp() AT TIME ZONE 'UTC' - interval '12 hours')::date) OFFSET 0
        ) AS h
        WHERE h.user_id IN (SELECT named.user_id FROM old_rows r CROSS JOIN LATERAL (%2$s) AS named(user_id))
        ORDER BY h.id LIMIT 1
    $sql$, TG_TABLE_SCHEMA, users) INTO hold USING TG_ARGV[0];
    IF hold.id IS NOT NULL THEN
        RAISE EXCEPTION 'Hold % keeps rows of the user % in the table %: they cannot be deleted before it ends.', hold.id, hold.user_id, TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = 'holds_kept_rows',
                HINT = format('To release it, run: manage.py release_hold %s', hold.id);
    END IF;
    RETURN NULL;
END;
$function$;

-- BEFORE TRUNCATE FOR EACH STATEMENT. The argument is the section, empty for all. An older snapshot does not show a new hold, and there is no row whose lock
-- would show it.
CREATE OR REPLACE FUNCTION refuse_truncation_of_held_rows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    hold record;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'TRUNCATE of the table % needs the isolation level READ COMMITTED: a new hold could be invisible.', TG_TABLE_NAME
            USING ERRCODE = 'serialization_failure', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(7021339562118411);
    EXECUTE format($sql$
        SELECT id, user_id FROM %I.holds WHERE released_at IS NULL AND ($1 = '' OR section = $1)
        AND (until IS NULL OR until >= (clock_timestamp() AT TIME ZONE 'UTC' - interval '12 hours')::date) ORDER BY id LIMIT 1
    $sql$, TG_TABLE_SCHEMA) INTO hold USING TG_ARGV[0];
    IF hold.id IS NOT NULL THEN
        RAISE EXCEPTION 'Hold % keeps rows of the user % in the table %: they cannot be deleted before it ends.', hold.id, hold.user_id, TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = 'holds_kept_rows',
                HINT = format('To release it, run: manage.py release_hold %s', hold.id);
    END IF;
    RETURN NULL;
END;
$function$;

-- AFTER INSERT OR UPDATE ON pending_actions FOR EACH ROW, WHEN an erasure (kind 1) has only held data left. From now on the user counts as deleted for
-- good: no row of the user can be inserted, and only an undone erasure can end this.
CREATE OR REPLACE FUNCTION note_held_erasure() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    EXECUTE format($sql$
        INSERT INTO %I.erased_users (user_id, deleted) VALUES ($1, true) ON CONFLICT (user_id) DO UPDATE SET deleted = true, erased_at = DEFAULT
    $sql$, TG_TABLE_SCHEMA) USING NEW.user_id;
    RETURN NULL;
END;
$function$;

-- AFTER DELETE ON erased_users FOR EACH STATEMENT, with old_rows: an undone action must not be completed when the hold ends.
CREATE OR REPLACE FUNCTION forget_held_actions_of_undone() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    EXECUTE format('DELETE FROM %I.pending_actions WHERE is_held AND user_id IN (SELECT user_id FROM old_rows)', TG_TABLE_SCHEMA);
    RETURN NULL;
END;
$function$;

REVOKE ALL ON FUNCTION check_hold() FROM PUBLIC;
REVOKE ALL ON FUNCTION refuse_truncation_of_holds() FROM PUBLIC;
REVOKE ALL ON FUNCTION refuse_deletion_of_held_rows() FROM PUBLIC;
REVOKE ALL ON FUNCTION refuse_truncation_of_held_rows() FROM PUBLIC;
REVOKE ALL ON FUNCTION note_held_erasure() FROM PUBLIC;
REVOKE ALL ON FUNCTION forget_held_actions_of_undone() FROM PUBLIC;

CREATE OR REPLACE TRIGGER holds_step_check BEFORE INSERT OR DELETE OR UPDATE ON holds
    FOR EACH ROW EXECUTE FUNCTION check_hold();
CREATE OR REPLACE TRIGGER holds_not_truncated BEFORE TRUNCATE ON holds
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncation_of_holds();
CREATE OR REPLACE TRIGGER pending_actions_held AFTER INSERT OR UPDATE ON pending_actions
    FOR EACH ROW WHEN (((new.kind = 1) AND new.is_held)) EXECUTE FUNCTION note_held_erasure();
CREATE OR REPLACE TRIGGER erased_users_held AFTER DELETE ON erased_users
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION forget_held_actions_of_undone();

ALTER TABLE holds ENABLE ALWAYS TRIGGER holds_step_check;
ALTER TABLE holds ENABLE ALWAYS TRIGGER holds_not_truncated;
ALTER TABLE pending_actions ENABLE ALWAYS TRIGGER pending_actions_held;
ALTER TABLE erased_users ENABLE ALWAYS TRIGGER erased_users_held;

REVOKE ALL ON holds FROM PUBLIC;
