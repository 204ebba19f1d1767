-- Chain the entries of the erasure ledger in less time. The trigger runs once for each entry, and a query over two tables was half of its time.
--
-- findme/core/triggers/definitions.py reads the definitions from this file. verify_qdrant --repair runs its statements again, so each must be repeatable.

-- As in 0012_ledger_checkpoints. An entry that this transaction has added follows every checkpoint, so only the first one of a transaction looks for
-- checkpoints. In a savepoint, xmin is another number, and each entry looks for them.
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

REVOKE ALL ON FUNCTION chain_ledger_entry() FROM PUBLIC;
