-- The function as 0002_triggers.up.sql creates it.

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
