-- A staff account that is disabled after a restore, and its confirmation, are no change of a restricted user's data.
--
-- accounts/migrations/sql/0012_restriction.up.sql creates the trigger on users. findme/core/triggers/definitions.py reads the definition from this file.
-- verify_qdrant --repair runs its statements again, so each must be repeatable.

-- AFTER UPDATE FOR EACH ROW, WHEN the user was restricted and is not anonymized. An error would make a bulk UPDATE fail because of one row, so the change
-- is accepted and recorded. Columns that a privacy action or a login writes are no change of the user's data. The entry has no value.
CREATE OR REPLACE FUNCTION note_privacy_action_of_restricted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    ignored text[] := ARRAY['deleted_at', 'restricted_at', 'objected_at', 'updated_at', 'last_login', 'unconfirmed_at'];
BEGIN
    IF to_jsonb(NEW) - ignored <> to_jsonb(OLD) - ignored THEN
        EXECUTE format($sql$
            INSERT INTO %I.audit_log (actor_account, action, target_id, outcome) VALUES ($1, 'restricted_change', $2, 'done')
        $sql$, TG_TABLE_SCHEMA) USING session_user, OLD.id;
    END IF;
    RETURN NULL;
END;
$function$;

REVOKE ALL ON FUNCTION note_privacy_action_of_restricted() FROM PUBLIC;
