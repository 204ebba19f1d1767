-- Triggers note each user who is restricted or objects, the undoing of both, and each change of a restricted user, in the transaction that does it.
--
-- accounts/migrations/sql/0012_restriction.up.sql creates the triggers on users. The functions run with the owner's privileges, so that no role needs a
-- privilege on the tables of privacy.

-- AFTER UPDATE FOR EACH ROW, WHEN a column with a time becomes a time or NULL. The arguments are the column and the kinds of the ledger for both.
CREATE OR REPLACE FUNCTION note_privacy_action_of_column() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    EXECUTE format('INSERT INTO %I.pending_actions (user_id, kind) VALUES ($1, $2)', TG_TABLE_SCHEMA)
        USING NEW.id, CASE WHEN to_jsonb(NEW) ->> TG_ARGV[0] IS NULL THEN TG_ARGV[2] ELSE TG_ARGV[1] END::smallint;
    RETURN NULL;
END;
$function$;

-- AFTER UPDATE FOR EACH ROW, WHEN the user was restricted and is not anonymized. An error would make a bulk UPDATE fail because of one row, so the change
-- is accepted and recorded. Columns that a privacy action or a login writes are no change of the user's data. The entry has no value.
CREATE OR REPLACE FUNCTION note_privacy_action_of_restricted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    ignored text[] := ARRAY['deleted_at', 'restricted_at', 'objected_at', 'updated_at', 'last_login'];
BEGIN
    IF to_jsonb(NEW) - ignored <> to_jsonb(OLD) - ignored THEN
        EXECUTE format($sql$
            INSERT INTO %I.audit_log (actor_account, action, target_id, outcome) VALUES ($1, 'restricted_change', $2, 'done')
        $sql$, TG_TABLE_SCHEMA) USING session_user, OLD.id;
    END IF;
    RETURN NULL;
END;
$function$;

REVOKE ALL ON FUNCTION note_privacy_action_of_column() FROM PUBLIC;
REVOKE ALL ON FUNCTION note_privacy_action_of_restricted() FROM PUBLIC;
