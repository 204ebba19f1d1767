-- The erasure ledger is append-only, and each entry contains the SHA-256 of the entry before it.
--
-- findme/core/triggers/definitions.py reads the definitions from this file. verify_qdrant --repair runs its statements again, so each must be repeatable.

-- BEFORE INSERT FOR EACH ROW. It numbers and chains a new entry. An entry that has a number, from a backup or from the ledger outside the database, must
-- be the next one of the chain. The lock lets one transaction at a time add entries. The canonical JSON is that of RFC 8785: all names are ASCII, and
-- all numbers are whole.
CREATE OR REPLACE FUNCTION chain_ledger_entry() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    last_position bigint;
    last_digest bytea;
    canonical text;
    computed bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(7021339562118407);
    EXECUTE format('SELECT position, digest FROM %I.erasure_ledger ORDER BY position DESC LIMIT 1', TG_TABLE_SCHEMA) INTO last_position, last_digest;
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

-- BEFORE UPDATE OR DELETE OR TRUNCATE FOR EACH STATEMENT.
CREATE OR REPLACE FUNCTION refuse_change_of_ledger() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RAISE EXCEPTION 'The erasure ledger is append-only: % is refused.', TG_OP
        USING ERRCODE = 'restrict_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
END;
$function$;

REVOKE ALL ON FUNCTION chain_ledger_entry() FROM PUBLIC;
REVOKE ALL ON FUNCTION refuse_change_of_ledger() FROM PUBLIC;

CREATE OR REPLACE TRIGGER erasure_ledger_chained BEFORE INSERT ON erasure_ledger
    FOR EACH ROW EXECUTE FUNCTION chain_ledger_entry();
CREATE OR REPLACE TRIGGER erasure_ledger_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON erasure_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();

ALTER TABLE erasure_ledger ENABLE ALWAYS TRIGGER erasure_ledger_chained;
ALTER TABLE erasure_ledger ENABLE ALWAYS TRIGGER erasure_ledger_append_only;

REVOKE ALL ON erasure_ledger FROM PUBLIC;
