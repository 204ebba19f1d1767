-- Check the chain of new entries of the erasure ledger once for each statement. FindMe numbers and chains its entries, and a trigger for each row took
-- longer than the insertion itself.
--
-- findme/core/triggers/definitions.py reads the definitions from this file. verify_qdrant --repair runs its statements again, so each must be repeatable.

-- BEFORE INSERT FOR EACH STATEMENT. One transaction at a time adds entries, so a statement never waits for the entry of another one.
CREATE OR REPLACE FUNCTION lock_ledger() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    PERFORM pg_advisory_xact_lock(7021339562118407);
    RETURN NULL;
END;
$function$;

-- BEFORE INSERT FOR EACH ROW WHEN the row has no number or no digest. It numbers, dates and chains the entry, as in 0019_ledger_chain. check_entries_of_ledger
-- checks it.
CREATE OR REPLACE FUNCTION chain_ledger_entry() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    last record;
BEGIN
    IF NEW.position IS NULL THEN
        EXECUTE format(
            'SELECT position, digest FROM ('
            '(SELECT position, digest FROM %1$I.erasure_ledger ORDER BY position DESC LIMIT 1)'
            ' UNION ALL (SELECT position, digest FROM %1$I.ledger_checkpoints ORDER BY position DESC LIMIT 1)) AS last ORDER BY position DESC LIMIT 1',
            TG_TABLE_SCHEMA
        ) INTO last;
        NEW.position := coalesce(last.position, 0) + 1;
        NEW.recorded_at := clock_timestamp();
        NEW.previous := coalesce(last.digest, decode(repeat('00', 32), 'hex'));
        NEW.digest := NULL;
    END IF;
    NEW.digest := coalesce(NEW.digest, sha256(convert_to(format(
        '{"counts":{%s},"key":%s,"kind":%s,"plan":%s,"policy":%s,"position":%s,"previous":"%s","recorded_at":"%s","subject":"%s"}',
        CASE WHEN NEW.counts <> '{}' THEN (SELECT string_agg(format('"%s":%s', key, value), ',' ORDER BY key COLLATE "C") FROM jsonb_each_text(NEW.counts)) END,
        NEW.key_id, NEW.kind, coalesce('"' || encode(NEW.plan_digest, 'hex') || '"', 'null'), NEW.policy_version, NEW.position,
        encode(NEW.previous, 'hex'), to_char(NEW.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), encode(NEW.subject, 'hex')
    ), 'UTF8')));
    RETURN NEW;
END;
$function$;

-- AFTER INSERT FOR EACH STATEMENT, with new_rows. The entries must continue the chain, and the digest of each must be that of its columns. The canonical
-- JSON is that of RFC 8785: all names are ASCII, and all numbers are whole.
CREATE OR REPLACE FUNCTION check_entries_of_ledger() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    first bigint := (SELECT min(position) FROM new_rows);
    last record;
    wrong record;
BEGIN
    EXECUTE format(
        'SELECT position, digest FROM ('
        '(SELECT position, digest FROM %1$I.erasure_ledger WHERE position < $1 ORDER BY position DESC LIMIT 1)'
        ' UNION ALL (SELECT position, digest FROM %1$I.ledger_checkpoints ORDER BY position DESC LIMIT 1)) AS last ORDER BY position DESC LIMIT 1',
        TG_TABLE_SCHEMA
    ) INTO last USING first;
    SELECT entry.position, entry.position_before INTO wrong FROM (
        SELECT r.position, r.previous, r.digest,
            lag(r.position, 1, coalesce(last.position, 0)) OVER chain AS position_before,
            lag(r.digest, 1, coalesce(last.digest, decode(repeat('00', 32), 'hex'))) OVER chain AS digest_before,
            sha256(convert_to(format(
                '{"counts":{%s},"key":%s,"kind":%s,"plan":%s,"policy":%s,"position":%s,"previous":"%s","recorded_at":"%s","subject":"%s"}',
                CASE WHEN r.counts <> '{}' THEN (SELECT string_agg(format('"%s":%s', key, value), ',' ORDER BY key COLLATE "C") FROM jsonb_each_text(r.counts)) END,
                r.key_id, r.kind, coalesce('"' || encode(r.plan_digest, 'hex') || '"', 'null'), r.policy_version, r.position,
                encode(r.previous, 'hex'), to_char(r.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), encode(r.subject, 'hex')
            ), 'UTF8')) AS computed
        FROM new_rows r WINDOW chain AS (ORDER BY r.position)
    ) AS entry
    WHERE entry.position <> entry.position_before + 1 OR entry.previous <> entry.digest_before OR entry.digest <> entry.computed
    ORDER BY entry.position LIMIT 1;
    IF wrong.position IS NOT NULL THEN
        RAISE EXCEPTION 'The entry % of the erasure ledger does not follow the entry %.', wrong.position, wrong.position_before
            USING ERRCODE = 'integrity_constraint_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END;
$function$;

REVOKE ALL ON FUNCTION lock_ledger() FROM PUBLIC;
REVOKE ALL ON FUNCTION chain_ledger_entry() FROM PUBLIC;
REVOKE ALL ON FUNCTION check_entries_of_ledger() FROM PUBLIC;

CREATE OR REPLACE TRIGGER erasure_ledger_locked BEFORE INSERT ON erasure_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION lock_ledger();
CREATE OR REPLACE TRIGGER erasure_ledger_chained BEFORE INSERT ON erasure_ledger
    FOR EACH ROW WHEN (((new."position" IS NULL) OR (new.digest IS NULL))) EXECUTE FUNCTION chain_ledger_entry();
CREATE OR REPLACE TRIGGER erasure_ledger_checked AFTER INSERT ON erasure_ledger
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION check_entries_of_ledger();

ALTER TABLE erasure_ledger ENABLE ALWAYS TRIGGER erasure_ledger_locked;
ALTER TABLE erasure_ledger ENABLE ALWAYS TRIGGER erasure_ledger_chained;
ALTER TABLE erasure_ledger ENABLE ALWAYS TRIGGER erasure_ledger_checked;
