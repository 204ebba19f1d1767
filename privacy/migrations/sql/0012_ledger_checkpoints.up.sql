-- Rows of the audit log and of the erasure ledger are deleted only by the function delete_expired_records, and only after their retention. A checkpoint has
-- the position and the digest of the last deleted entry of the ledger, and the next entry continues from it.
--
-- findme/core/triggers/definitions.py reads the definitions from this file. verify_qdrant --repair runs its statements again, so each must be repeatable.

-- It deletes rows of one of the two tables, at most 10000 in a call, and returns their number. From the ledger it deletes only what a checkpoint covers. It
-- runs with the privileges of the owner, so it accepts only a table of the owner.
CREATE OR REPLACE FUNCTION delete_expired_records(expired regclass) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    kept_schema text;
    kept_table text;
    deleted bigint;
BEGIN
    SELECT n.nspname, c.relname INTO kept_schema, kept_table FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = expired AND c.relname IN ('audit_log', 'erasure_ledger') AND c.relowner = (SELECT oid FROM pg_roles WHERE rolname = current_user);
    IF kept_table = 'audit_log' THEN
        EXECUTE format(
            'DELETE FROM %1$I.audit_log WHERE id IN (SELECT id FROM %1$I.audit_log WHERE recorded_at < clock_timestamp() - interval ''1095 days'''
            ' ORDER BY recorded_at LIMIT 10000)',
            kept_schema
        );
    ELSIF kept_table = 'erasure_ledger' THEN
        EXECUTE format(
            'DELETE FROM %1$I.erasure_ledger WHERE position IN (SELECT position FROM %1$I.erasure_ledger'
            ' WHERE position <= (SELECT max(position) FROM %1$I.ledger_checkpoints) AND recorded_at < clock_timestamp() - interval ''1095 days'''
            ' ORDER BY position LIMIT 10000)',
            kept_schema
        );
    ELSE
        RAISE EXCEPTION 'Rows of % have no retention, or the table has another owner than this function.', expired
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END;
$function$;

-- BEFORE DELETE FOR EACH STATEMENT. The function above runs as the owner, and PostgreSQL names it in the context. Not SECURITY DEFINER, because this
-- function checks the current role.
CREATE OR REPLACE FUNCTION refuse_direct_deletion() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    context text;
BEGIN
    GET DIAGNOSTICS context = PG_CONTEXT;
    IF position('delete_expired_records(' IN context) = 0
        OR NOT pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'MEMBER')
    THEN
        RAISE EXCEPTION '% is append-only: DELETE is refused. Only delete_expired_records() deletes rows, after their retention.', TG_ARGV[0]
            USING ERRCODE = 'restrict_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END;
$function$;

-- As in 0006_erasure_ledger, and the first entry after a checkpoint continues from the checkpoint.
CREATE OR REPLACE FUNCTION chain_ledger_entry() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    last_position bigint;
    last_digest bytea;
    canonical text;
    computed bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(7021339562118407);
    EXECUTE format(
        'SELECT position, digest FROM ('
        '(SELECT position, digest FROM %1$I.erasure_ledger ORDER BY position DESC LIMIT 1)'
        ' UNION ALL (SELECT position, digest FROM %1$I.ledger_checkpoints ORDER BY position DESC LIMIT 1)) AS last ORDER BY position DESC LIMIT 1',
        TG_TABLE_SCHEMA
    ) INTO last_position, last_digest;
    last_position := coalesce(last_position, 0);
    last_digest := coalesce(last_digest, decode(repeat('00', 32), 'hex'));
    IF NEW.position IS NULL THEN
        NEW.position := last_position + 1;
        NEW.recorded_at := clock_timestamp();
        NEW.previous := last_digest;
    END IF;
    canonical := format(
        '{"counts":{%s},"key":%s,"kind":%s,"plan":%s,"policy":%s,"position":%s,"previous":"%s","recorded_at":"%s","subject":"%s"}',
        (SELECT string_agg(format('"%s":%s', key, value), ',' ORDER BY key COLLATE "C") FROM jsonb_each_text(NEW.counts)),
        NEW.key_id, NEW.kind, coalesce('"' || encode(NEW.plan_digest, 'hex') || '"', 'null'), NEW.policy_version, NEW.position,
        encode(NEW.previous, 'hex'), to_char(NEW.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), encode(NEW.subject, 'hex')
    );
    computed := sha256(convert_to(canonical, 'UTF8'));
    NEW.digest := coalesce(NEW.digest, computed);
    IF NEW.position <> last_position + 1 OR NEW.previous <> last_digest OR NEW.digest <> computed THEN
        RAISE EXCEPTION 'The entry % of the erasure ledger does not follow the entry %.', NEW.position, last_position
            USING ERRCODE = 'integrity_constraint_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END;
$function$;

-- BEFORE INSERT FOR EACH ROW. A checkpoint is one of the entries. Without entries, it comes from the ledger outside the database.
CREATE OR REPLACE FUNCTION check_ledger_checkpoint() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    is_valid boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(7021339562118407);
    EXECUTE format(
        'SELECT $1 > coalesce((SELECT max(position) FROM %1$I.ledger_checkpoints), 0)'
        ' AND (EXISTS (SELECT FROM %1$I.erasure_ledger WHERE position = $1 AND digest = $2 AND recorded_at = $3)'
        ' OR NOT EXISTS (SELECT FROM %1$I.erasure_ledger))',
        TG_TABLE_SCHEMA
    ) INTO is_valid USING NEW.position, NEW.digest, NEW.last_recorded_at;
    IF NOT is_valid THEN
        RAISE EXCEPTION 'The checkpoint % is no entry of the erasure ledger after the last checkpoint.', NEW.position
            USING ERRCODE = 'integrity_constraint_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END;
$function$;

REVOKE ALL ON FUNCTION delete_expired_records(regclass) FROM PUBLIC;
REVOKE ALL ON FUNCTION refuse_direct_deletion() FROM PUBLIC;
REVOKE ALL ON FUNCTION chain_ledger_entry() FROM PUBLIC;
REVOKE ALL ON FUNCTION check_ledger_checkpoint() FROM PUBLIC;

CREATE OR REPLACE TRIGGER audit_log_expired BEFORE DELETE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_direct_deletion('The audit log');
CREATE OR REPLACE TRIGGER erasure_ledger_append_only BEFORE UPDATE OR TRUNCATE ON erasure_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();
CREATE OR REPLACE TRIGGER erasure_ledger_expired BEFORE DELETE ON erasure_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_direct_deletion('The erasure ledger');
CREATE OR REPLACE TRIGGER ledger_checkpoints_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON ledger_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();
CREATE OR REPLACE TRIGGER ledger_checkpoints_valid BEFORE INSERT ON ledger_checkpoints
    FOR EACH ROW EXECUTE FUNCTION check_ledger_checkpoint();

ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_expired;
ALTER TABLE erasure_ledger ENABLE ALWAYS TRIGGER erasure_ledger_append_only;
ALTER TABLE erasure_ledger ENABLE ALWAYS TRIGGER erasure_ledger_expired;
ALTER TABLE ledger_checkpoints ENABLE ALWAYS TRIGGER ledger_checkpoints_append_only;
ALTER TABLE ledger_checkpoints ENABLE ALWAYS TRIGGER ledger_checkpoints_valid;

REVOKE ALL ON ledger_checkpoints FROM PUBLIC;
