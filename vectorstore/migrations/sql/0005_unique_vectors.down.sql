DO $do$
BEGIN
    EXECUTE format($sql$

CREATE OR REPLACE FUNCTION vector_sync_users_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = %1$I, pg_temp AS $function$
BEGIN
    INSERT INTO vector_sync_queue (user_id, urgent) SELECT id, true FROM old_rows;
    IF FOUND THEN PERFORM vector_sync_wake(); END IF;
    RETURN NULL;
END;
$function$;

CREATE OR REPLACE FUNCTION vector_sync_embeddings_updated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = %1$I, pg_temp AS $function$
BEGIN
    INSERT INTO vector_sync_queue (user_id, urgent)
    SELECT user_id, o.vector IS NULL OR n.vector IS NULL
    FROM old_rows o FULL JOIN new_rows n USING (user_id)
    -- The vectors last: they are stored out of line, and not fetched where something else is different already.
    WHERE (o.location, o.interests, o.video_features, o.vector) IS DISTINCT FROM (n.location, n.interests, n.video_features, n.vector);
    IF FOUND THEN PERFORM vector_sync_wake(); END IF;
    RETURN NULL;
END;
$function$;

CREATE OR REPLACE FUNCTION vector_sync_embeddings_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = %1$I, pg_temp AS $function$
BEGIN
    INSERT INTO vector_sync_queue (user_id, urgent) SELECT user_id, true FROM old_rows;
    IF FOUND THEN PERFORM vector_sync_wake(); END IF;
    RETURN NULL;
END;
$function$;

    $sql$, current_schema());
END;
$do$;
