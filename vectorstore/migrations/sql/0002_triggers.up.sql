-- Capture: triggers that put the users whose points may be out of date on vector_sync_queue, in the transaction that changes them.
--
-- Statement-level triggers append one row per user. They never read or update queue entries, so a writer never waits for another writer or for a
-- worker. PostgreSQL does not allow a list of columns together with transition tables, so the functions compare the rows.
-- "urgent" entries overtake bulk loads: deletions and changed flags, after which a user must no longer be shown, or may be shown again.
--
-- The functions are SECURITY DEFINER, so a role that may write users needs no rights on the queue. Therefore no name in them may refer to an object
-- of another role. The search_path contains only PostgreSQL's own schema, which is also searched for operators. pg_temp is named last, because it
-- would be searched first otherwise. Tables are named with the current schema of the table that fired: ALTER SCHEMA ... RENAME breaks nothing.
--
-- findme/core/triggers/definitions.py reads the definitions from this file. verify_qdrant --repair runs the statements again, so each can be repeated.

-- PostgreSQL parses a SQL body when the function is created, and stores references to tables instead of names. All types are explicit, so that each
-- operator and function is PostgreSQL's own, even if the schema has others.
CREATE OR REPLACE FUNCTION vector_sync_notify() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    -- A hint with an empty payload, sent only while a worker is registered as sleeping. Workers also check the queue every second or two.
    -- PostgreSQL stores notifications until all listeners have read them. A commit that notifies fails if the storage is full: stop at half of it.
    -- Transactions that notify commit one after the other, so only one at a time notifies. CASE keeps the order of the checks: the lock comes last.
    SELECT pg_notify(text 'vector_sync', text '')
    WHERE CASE
        WHEN EXISTS (SELECT FROM vector_sync_workers WHERE sleeping_until > clock_timestamp()) AND pg_notification_queue_usage() < double precision '0.5'
        THEN pg_try_advisory_xact_lock(hashtextextended(text 'findme wakes the sync', bigint '0'))
        ELSE false
    END;
END;

CREATE OR REPLACE FUNCTION vector_sync_users_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    queued bigint;
BEGIN
    EXECUTE format($sql$
        -- A user without an embedding has no point. The embedding queues the user itself when it comes. Where foreign keys are not checked
        -- (replica) it may come first, in a transaction that this one does not see yet: then every user is queued.
        INSERT INTO %1$I.vector_sync_queue (user_id, urgent)
        SELECT id, false FROM new_rows
        WHERE current_setting('session_replication_role') = 'replica'
            OR EXISTS (SELECT FROM %1$I.profile_embeddings WHERE user_id = new_rows.id)
    $sql$, TG_TABLE_SCHEMA);
    GET DIAGNOSTICS queued = ROW_COUNT;
    IF queued > 0 THEN EXECUTE format('SELECT %I.vector_sync_notify()', TG_TABLE_SCHEMA); END IF;
    RETURN NULL;
END;
$function$;

CREATE OR REPLACE FUNCTION vector_sync_users_updated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    queued bigint;
BEGIN
    EXECUTE format($sql$
        INSERT INTO %1$I.vector_sync_queue (user_id, urgent)
        SELECT id,
               o.gender IS NULL OR n.gender IS NULL
               OR (o.active, o.verified, o.is_staff, o.deleted_at IS NULL) IS DISTINCT FROM (n.active, n.verified, n.is_staff, n.deleted_at IS NULL)
        FROM old_rows o FULL JOIN new_rows n USING (id)
        WHERE (o.gender, o.date_of_birth, o.created_at, o.active, o.verified, o.is_staff, o.deleted_at IS NULL)
              IS DISTINCT FROM
              (n.gender, n.date_of_birth, n.created_at, n.active, n.verified, n.is_staff, n.deleted_at IS NULL)
    $sql$, TG_TABLE_SCHEMA);
    GET DIAGNOSTICS queued = ROW_COUNT;
    IF queued > 0 THEN EXECUTE format('SELECT %I.vector_sync_notify()', TG_TABLE_SCHEMA); END IF;
    RETURN NULL;
END;
$function$;

CREATE OR REPLACE FUNCTION vector_sync_users_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    queued bigint;
BEGIN
    EXECUTE format($sql$
        INSERT INTO %1$I.vector_sync_queue (user_id, urgent) SELECT id, true FROM old_rows
    $sql$, TG_TABLE_SCHEMA);
    GET DIAGNOSTICS queued = ROW_COUNT;
    IF queued > 0 THEN EXECUTE format('SELECT %I.vector_sync_notify()', TG_TABLE_SCHEMA); END IF;
    RETURN NULL;
END;
$function$;

CREATE OR REPLACE FUNCTION vector_sync_embeddings_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    queued bigint;
BEGIN
    EXECUTE format($sql$
        INSERT INTO %1$I.vector_sync_queue (user_id, urgent) SELECT user_id, false FROM new_rows
    $sql$, TG_TABLE_SCHEMA);
    GET DIAGNOSTICS queued = ROW_COUNT;
    IF queued > 0 THEN EXECUTE format('SELECT %I.vector_sync_notify()', TG_TABLE_SCHEMA); END IF;
    RETURN NULL;
END;
$function$;

CREATE OR REPLACE FUNCTION vector_sync_embeddings_updated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    queued bigint;
BEGIN
    EXECUTE format($sql$
        INSERT INTO %1$I.vector_sync_queue (user_id, urgent)
        SELECT user_id, o.vector IS NULL OR n.vector IS NULL
        FROM old_rows o FULL JOIN new_rows n USING (user_id)
        -- The vectors last: they are stored out of line, and not fetched where something else is different already.
        WHERE (o.location, o.interests, o.video_features, o.vector) IS DISTINCT FROM (n.location, n.interests, n.video_features, n.vector)
    $sql$, TG_TABLE_SCHEMA);
    GET DIAGNOSTICS queued = ROW_COUNT;
    IF queued > 0 THEN EXECUTE format('SELECT %I.vector_sync_notify()', TG_TABLE_SCHEMA); END IF;
    RETURN NULL;
END;
$function$;

CREATE OR REPLACE FUNCTION vector_sync_embeddings_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    queued bigint;
BEGIN
    EXECUTE format($sql$
        INSERT INTO %1$I.vector_sync_queue (user_id, urgent) SELECT user_id, true FROM old_rows
    $sql$, TG_TABLE_SCHEMA);
    GET DIAGNOSTICS queued = ROW_COUNT;
    IF queued > 0 THEN EXECUTE format('SELECT %I.vector_sync_notify()', TG_TABLE_SCHEMA); END IF;
    RETURN NULL;
END;
$function$;

-- TRUNCATE does not report its rows. The trigger appends one row without a user, for which a worker compares the whole collection.
CREATE OR REPLACE FUNCTION vector_sync_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    EXECUTE format($sql$
        INSERT INTO %1$I.vector_sync_queue (user_id, urgent) VALUES (NULL, true)
    $sql$, TG_TABLE_SCHEMA);
    EXECUTE format('SELECT %I.vector_sync_notify()', TG_TABLE_SCHEMA);
    RETURN NULL;
END;
$function$;

-- A trigger runs its function for every role that writes. If other roles could call the functions, or attach them to their own tables, they could use
-- the owner's rights.
REVOKE ALL ON FUNCTION vector_sync_notify() FROM PUBLIC;
REVOKE ALL ON FUNCTION vector_sync_users_inserted() FROM PUBLIC;
REVOKE ALL ON FUNCTION vector_sync_users_updated() FROM PUBLIC;
REVOKE ALL ON FUNCTION vector_sync_users_deleted() FROM PUBLIC;
REVOKE ALL ON FUNCTION vector_sync_embeddings_inserted() FROM PUBLIC;
REVOKE ALL ON FUNCTION vector_sync_embeddings_updated() FROM PUBLIC;
REVOKE ALL ON FUNCTION vector_sync_embeddings_deleted() FROM PUBLIC;
REVOKE ALL ON FUNCTION vector_sync_truncated() FROM PUBLIC;

CREATE OR REPLACE TRIGGER vector_sync_inserted AFTER INSERT ON users
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION vector_sync_users_inserted();
CREATE OR REPLACE TRIGGER vector_sync_updated AFTER UPDATE ON users
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION vector_sync_users_updated();
CREATE OR REPLACE TRIGGER vector_sync_deleted AFTER DELETE ON users
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION vector_sync_users_deleted();
CREATE OR REPLACE TRIGGER vector_sync_truncated AFTER TRUNCATE ON users
    FOR EACH STATEMENT EXECUTE FUNCTION vector_sync_truncated();

CREATE OR REPLACE TRIGGER vector_sync_inserted AFTER INSERT ON profile_embeddings
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION vector_sync_embeddings_inserted();
CREATE OR REPLACE TRIGGER vector_sync_updated AFTER UPDATE ON profile_embeddings
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION vector_sync_embeddings_updated();
CREATE OR REPLACE TRIGGER vector_sync_deleted AFTER DELETE ON profile_embeddings
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION vector_sync_embeddings_deleted();
CREATE OR REPLACE TRIGGER vector_sync_truncated AFTER TRUNCATE ON profile_embeddings
    FOR EACH STATEMENT EXECUTE FUNCTION vector_sync_truncated();

-- ALWAYS: rows that a tool copies with session_replication_role = replica are changes too.
ALTER TABLE users ENABLE ALWAYS TRIGGER vector_sync_inserted;
ALTER TABLE users ENABLE ALWAYS TRIGGER vector_sync_updated;
ALTER TABLE users ENABLE ALWAYS TRIGGER vector_sync_deleted;
ALTER TABLE users ENABLE ALWAYS TRIGGER vector_sync_truncated;
ALTER TABLE profile_embeddings ENABLE ALWAYS TRIGGER vector_sync_inserted;
ALTER TABLE profile_embeddings ENABLE ALWAYS TRIGGER vector_sync_updated;
ALTER TABLE profile_embeddings ENABLE ALWAYS TRIGGER vector_sync_deleted;
ALTER TABLE profile_embeddings ENABLE ALWAYS TRIGGER vector_sync_truncated;
