-- A captured deletion has its own cause: it deletes the user's point even if no other copy of its vector exists.
--
-- An embedding whose key changes is a deletion for the user that had the row before. For the form of the functions see 0002_triggers.up.sql.

CREATE OR REPLACE FUNCTION vector_sync_users_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    queued bigint;
BEGIN
    EXECUTE format($sql$
        INSERT INTO %1$I.vector_sync_queue (user_id, urgent, cause) SELECT id, true, 'deletion' FROM old_rows
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
        INSERT INTO %1$I.vector_sync_queue (user_id, urgent, cause)
        SELECT user_id, o.vector IS NULL OR n.vector IS NULL, CASE WHEN n.vector IS NULL THEN 'deletion' ELSE '' END
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
        INSERT INTO %1$I.vector_sync_queue (user_id, urgent, cause) SELECT user_id, true, 'deletion' FROM old_rows
    $sql$, TG_TABLE_SCHEMA);
    GET DIAGNOSTICS queued = ROW_COUNT;
    IF queued > 0 THEN EXECUTE format('SELECT %I.vector_sync_notify()', TG_TABLE_SCHEMA); END IF;
    RETURN NULL;
END;
$function$;

REVOKE ALL ON FUNCTION vector_sync_users_deleted() FROM PUBLIC;
REVOKE ALL ON FUNCTION vector_sync_embeddings_updated() FROM PUBLIC;
REVOKE ALL ON FUNCTION vector_sync_embeddings_deleted() FROM PUBLIC;
