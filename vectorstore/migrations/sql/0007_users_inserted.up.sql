-- Inserting users never waits for profile_embeddings. The trigger reads that table to leave out users without an embedding. Another transaction
-- may hold it in ACCESS EXCLUSIVE mode (TRUNCATE, ALTER TABLE). If that transaction also writes users, it can wait for the inserted row: a deadlock.
--
-- Without the lock every inserted user is queued. For the form of the functions see 0002_triggers.up.sql.

CREATE OR REPLACE FUNCTION vector_sync_users_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    -- Where foreign keys are not checked (replica), an embedding may come first, in a transaction that this one does not see yet.
    every_user boolean := current_setting('session_replication_role') = 'replica';
    queued bigint;
BEGIN
    IF NOT every_user THEN
        BEGIN
            EXECUTE format('LOCK TABLE %I.profile_embeddings IN ACCESS SHARE MODE NOWAIT', TG_TABLE_SCHEMA);
        EXCEPTION WHEN lock_not_available THEN
            every_user := true;
        END;
    END IF;
    IF every_user THEN
        EXECUTE format($sql$
            INSERT INTO %1$I.vector_sync_queue (user_id, urgent) SELECT id, false FROM new_rows
        $sql$, TG_TABLE_SCHEMA);
    ELSE
        EXECUTE format($sql$
            -- A user without an embedding has no point. The embedding queues the user itself when it comes.
            INSERT INTO %1$I.vector_sync_queue (user_id, urgent)
            SELECT id, false FROM new_rows WHERE EXISTS (SELECT FROM %1$I.profile_embeddings WHERE user_id = new_rows.id)
        $sql$, TG_TABLE_SCHEMA);
    END IF;
    GET DIAGNOSTICS queued = ROW_COUNT;
    IF queued > 0 THEN EXECUTE format('SELECT %I.vector_sync_notify()', TG_TABLE_SCHEMA); END IF;
    RETURN NULL;
END;
$function$;

REVOKE ALL ON FUNCTION vector_sync_users_inserted() FROM PUBLIC;
