-- A restricted or objecting user loses the point as a deleted one does, and gets it back. The columns are accounts.models.HIDING_COLUMNS.
--
-- For the form of the functions see 0002_triggers.up.sql.

CREATE OR REPLACE FUNCTION vector_sync_users_updated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    queued bigint;
BEGIN
    EXECUTE format($sql$
        INSERT INTO %1$I.vector_sync_queue (user_id, urgent)
        SELECT id,
               o.gender IS NULL OR n.gender IS NULL
               OR (o.active, o.verified, o.is_staff, o.deleted_at IS NULL, o.restricted_at IS NULL, o.objected_at IS NULL)
                  IS DISTINCT FROM
                  (n.active, n.verified, n.is_staff, n.deleted_at IS NULL, n.restricted_at IS NULL, n.objected_at IS NULL)
        FROM old_rows o FULL JOIN new_rows n USING (id)
        WHERE (o.gender, o.date_of_birth, o.created_at, o.active, o.verified, o.is_staff, o.deleted_at IS NULL, o.restricted_at IS NULL, o.objected_at IS NULL)
              IS DISTINCT FROM
              (n.gender, n.date_of_birth, n.created_at, n.active, n.verified, n.is_staff, n.deleted_at IS NULL, n.restricted_at IS NULL, n.objected_at IS NULL)
    $sql$, TG_TABLE_SCHEMA);
    GET DIAGNOSTICS queued = ROW_COUNT;
    IF queued > 0 THEN EXECUTE format('SELECT %I.vector_sync_notify()', TG_TABLE_SCHEMA); END IF;
    RETURN NULL;
END;
$function$;

REVOKE ALL ON FUNCTION vector_sync_users_updated() FROM PUBLIC;
