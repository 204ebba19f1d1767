-- No role can change an entry of the audit log, or delete it in its first three years. Even the owner must disable a trigger first.
--
-- findme/core/triggers/definitions.py reads the definitions from this file. verify_qdrant --repair runs its statements again, so each must be repeatable.

-- BEFORE UPDATE OR TRUNCATE FOR EACH STATEMENT.
CREATE OR REPLACE FUNCTION refuse_change_of_audit_log() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RAISE EXCEPTION 'The audit log is append-only: % is refused.', TG_OP
        USING ERRCODE = 'restrict_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
END;
$function$;

-- BEFORE DELETE FOR EACH ROW.
CREATE OR REPLACE FUNCTION keep_audit_entry() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF OLD.recorded_at > clock_timestamp() - interval '1095 days' THEN
        RAISE EXCEPTION 'The audit log is append-only: entry % is younger than three years.', OLD.id
            USING ERRCODE = 'restrict_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN OLD;
END;
$function$;

-- BEFORE INSERT FOR EACH ROW: only the owner, who restores backups, can set the time of an entry. Not SECURITY DEFINER, because the function checks the
-- current role.
CREATE OR REPLACE FUNCTION date_audit_entry() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF NOT pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'MEMBER') THEN
        NEW.recorded_at := clock_timestamp();
    END IF;
    RETURN NEW;
END;
$function$;

REVOKE ALL ON FUNCTION refuse_change_of_audit_log() FROM PUBLIC;
REVOKE ALL ON FUNCTION keep_audit_entry() FROM PUBLIC;
REVOKE ALL ON FUNCTION date_audit_entry() FROM PUBLIC;

CREATE OR REPLACE TRIGGER audit_log_append_only BEFORE UPDATE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit_log();
CREATE OR REPLACE TRIGGER audit_log_kept BEFORE DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION keep_audit_entry();
CREATE OR REPLACE TRIGGER audit_log_dated BEFORE INSERT ON audit_log
    FOR EACH ROW EXECUTE FUNCTION date_audit_entry();

ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_append_only;
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_kept;
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_dated;

REVOKE ALL ON audit_log FROM PUBLIC;
