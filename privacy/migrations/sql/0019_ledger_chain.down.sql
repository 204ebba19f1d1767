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
