DROP TRIGGER erasure_ledger_checked ON erasure_ledger;
DROP TRIGGER erasure_ledger_locked ON erasure_ledger;
DROP FUNCTION check_entries_of_ledger();
DROP FUNCTION lock_ledger();
CREATE OR REPLACE FUNCTION chain_ledger_entry() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    last_position bigint;
    last_digest bytea;
    canonical text;
    computed bytea;
    is_own boolean;
    checkpoint record;
BEGIN
    PERFORM pg_advisory_xact_lock(7021339562118407);
    EXECUTE format(
        'SELECT position, digest, xmin = pg_current_xact_id()::xid FROM %I.erasure_ledger ORDER BY position DESC LIMIT 1', TG_TABLE_SCHEMA
    ) INTO last_position, last_digest, is_own;
    IF is_own IS NOT TRUE THEN
        EXECUTE format('SELECT position, digest FROM %I.ledger_checkpoints ORDER BY position DESC LIMIT 1', TG_TABLE_SCHEMA) INTO checkpoint;
        IF checkpoint.position > coalesce(last_position, 0) THEN
            last_position := checkpoint.position;
            last_digest := checkpoint.digest;
        END IF;
    END IF;
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
CREATE OR REPLACE TRIGGER erasure_ledger_chained BEFORE INSERT ON erasure_ledger
    FOR EACH ROW EXECUTE FUNCTION chain_ledger_entry();
ALTER TABLE erasure_ledger ENABLE ALWAYS TRIGGER erasure_ledger_chained;
