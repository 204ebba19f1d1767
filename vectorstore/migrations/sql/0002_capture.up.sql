-- Whose point may have to change, written by the transaction that changes the person.
--
-- Statement-level triggers append one row a person to vector_sync_queue; nothing is looked up in it, and nothing in it is ever updated, so a writer
-- waits for no other and for no worker. The functions run with the rights of whoever migrated (SECURITY DEFINER): a role that may write users
-- need not know of the queue. PostgreSQL refuses a list of columns together with transition tables, so the functions compare the rows.
--
-- "urgent" is the lane of those who must not be shown any more (or may be shown again): deletions and changes of flags overtake bulk loads.

CREATE SEQUENCE vector_sync_version CACHE 1;

-- When a point was last removed from Qdrant, in milliseconds since 1970. A sequence: it is set at once, without a lock that somebody could wait for,
-- and whatever becomes of the transaction that sets it. Whatever was removed before this migration was removed before now.
CREATE SEQUENCE vector_points_removed_at CACHE 1;
SELECT setval('vector_points_removed_at', ceil(extract(epoch FROM clock_timestamp()) * 1000)::bigint);

-- Rows come and go all day: what is dead is cleared away early, so that a worker does not read through it.
ALTER TABLE vector_sync_queue SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
ALTER TABLE vector_sync_leases SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

INSERT INTO vector_store_state DEFAULT VALUES;

DO $do$
BEGIN
    EXECUTE format($sql$

CREATE FUNCTION vector_sync_wake() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = %1$I, pg_temp AS $function$
BEGIN
    -- A hint, without content, and only to workers that said that they sleep: they look by themselves every second or two. The server keeps what
    -- a listener, anybody's, has not read yet, and refuses the commit of whoever notifies when there is no room left: long before that, nobody does.
    -- And it lets those who have notified commit only one after the other: one at a time does, and nobody waits for another.
    IF EXISTS (SELECT FROM vector_sync_workers WHERE sleeping_until > clock_timestamp()) AND pg_notification_queue_usage() < 0.5
        AND pg_try_advisory_xact_lock(hashtextextended('findme wakes the sync', 0))
    THEN
        PERFORM pg_notify('vector_sync', '');
    END IF;
END;
$function$;

CREATE FUNCTION vector_sync_users_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = %1$I, pg_temp AS $function$
BEGIN
    -- Whoever has no embedding has no point; it is queued itself when it comes. Where foreign keys are not checked (replica) it may come first, in a
    -- transaction that this one does not see yet: then everybody is queued.
    INSERT INTO vector_sync_queue (user_id, urgent)
    SELECT id, false FROM new_rows
    WHERE current_setting('session_replication_role') = 'replica' OR EXISTS (SELECT FROM profile_embeddings WHERE user_id = new_rows.id);
    IF FOUND THEN PERFORM vector_sync_wake(); END IF;
    RETURN NULL;
END;
$function$;

CREATE FUNCTION vector_sync_users_updated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = %1$I, pg_temp AS $function$
BEGIN
    INSERT INTO vector_sync_queue (user_id, urgent)
    SELECT id,
           o.gender IS NULL OR n.gender IS NULL
           OR (o.active, o.verified, o.is_staff, o.deleted_at IS NULL) IS DISTINCT FROM (n.active, n.verified, n.is_staff, n.deleted_at IS NULL)
    FROM old_rows o FULL JOIN new_rows n USING (id)
    WHERE (o.gender, o.date_of_birth, o.created_at, o.active, o.verified, o.is_staff, o.deleted_at IS NULL)
          IS DISTINCT FROM
          (n.gender, n.date_of_birth, n.created_at, n.active, n.verified, n.is_staff, n.deleted_at IS NULL);
    IF FOUND THEN PERFORM vector_sync_wake(); END IF;
    RETURN NULL;
END;
$function$;

CREATE FUNCTION vector_sync_users_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = %1$I, pg_temp AS $function$
BEGIN
    INSERT INTO vector_sync_queue (user_id, urgent) SELECT id, true FROM old_rows;
    IF FOUND THEN PERFORM vector_sync_wake(); END IF;
    RETURN NULL;
END;
$function$;

CREATE FUNCTION vector_sync_embeddings_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = %1$I, pg_temp AS $function$
BEGIN
    INSERT INTO vector_sync_queue (user_id, urgent) SELECT user_id, false FROM new_rows;
    IF FOUND THEN PERFORM vector_sync_wake(); END IF;
    RETURN NULL;
END;
$function$;

CREATE FUNCTION vector_sync_embeddings_updated() RETURNS trigger
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

CREATE FUNCTION vector_sync_embeddings_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = %1$I, pg_temp AS $function$
BEGIN
    INSERT INTO vector_sync_queue (user_id, urgent) SELECT user_id, true FROM old_rows;
    IF FOUND THEN PERFORM vector_sync_wake(); END IF;
    RETURN NULL;
END;
$function$;

-- Nobody knows whom it took: one row without a person, on which a worker compares the whole collection.
CREATE FUNCTION vector_sync_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = %1$I, pg_temp AS $function$
BEGIN
    INSERT INTO vector_sync_queue (user_id, urgent) VALUES (NULL, true);
    PERFORM vector_sync_wake();
    RETURN NULL;
END;
$function$;

    $sql$, current_schema());
END;
$do$;

CREATE TRIGGER vector_sync_inserted AFTER INSERT ON users
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION vector_sync_users_inserted();
CREATE TRIGGER vector_sync_updated AFTER UPDATE ON users
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION vector_sync_users_updated();
CREATE TRIGGER vector_sync_deleted AFTER DELETE ON users
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION vector_sync_users_deleted();
CREATE TRIGGER vector_sync_truncated AFTER TRUNCATE ON users
    FOR EACH STATEMENT EXECUTE FUNCTION vector_sync_truncated();

CREATE TRIGGER vector_sync_inserted AFTER INSERT ON profile_embeddings
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION vector_sync_embeddings_inserted();
CREATE TRIGGER vector_sync_updated AFTER UPDATE ON profile_embeddings
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION vector_sync_embeddings_updated();
CREATE TRIGGER vector_sync_deleted AFTER DELETE ON profile_embeddings
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION vector_sync_embeddings_deleted();
CREATE TRIGGER vector_sync_truncated AFTER TRUNCATE ON profile_embeddings
    FOR EACH STATEMENT EXECUTE FUNCTION vector_sync_truncated();

-- Also what a tool writes that copies rows from elsewhere (session_replication_role = replica) is a change.
DO $do$
DECLARE
    captured record;
BEGIN
    FOR captured IN
        SELECT tgrelid::regclass AS name, tgname AS trigger, tgfoid::regprocedure AS function
        FROM pg_trigger WHERE tgrelid IN ('users'::regclass, 'profile_embeddings'::regclass) AND starts_with(tgname, 'vector_sync_')
    LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', captured.name, captured.trigger);
        -- A trigger runs its function whoever writes; nobody else has a use for it, on a table of their own.
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', captured.function);
    END LOOP;
END;
$do$;

-- The points that were made before have no version, and the age of some day.
INSERT INTO vector_sync_queue (user_id) SELECT user_id FROM profile_embeddings;
UPDATE vector_store_state
SET ages_refreshed_on = (now() AT TIME ZONE 'UTC')::date, ages_queued_up_to = (SELECT max(id) FROM vector_sync_queue);
