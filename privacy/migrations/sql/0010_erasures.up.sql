-- An erasure is a proof: its plan never changes, its state changes only by the allowed steps, and no erasure is deleted in the first three years after its
-- end. Even the owner must disable a trigger first.
--
-- findme/core/triggers/definitions.py reads the definitions from this file. verify_qdrant --repair runs its statements again, so each must be repeatable.

-- BEFORE INSERT OR UPDATE FOR EACH ROW. A plan names tables, and a name of no table could be anything.
CREATE OR REPLACE FUNCTION check_erasure() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    refused text;
    changed text[];
    columns text[];
    open_steps text;
    unknown text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'sealed' OR NEW.ledger_position IS NOT NULL THEN
            refused := 'a new erasure is sealed and has no entry in the ledger';
        ELSIF jsonb_typeof(NEW.plan) = 'object' THEN
            SELECT min(name) INTO unknown FROM (
                SELECT split_part(key, '.', 2) AS name FROM jsonb_object_keys(NEW.plan) AS key
                WHERE split_part(key, '.', 1) IN ('deleted', 'cleared', 'kept')
            ) AS planned
            WHERE NOT EXISTS (
                SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
                WHERE nspname = TG_TABLE_SCHEMA AND relname = name AND relkind IN ('r', 'p')
            );
            IF unknown IS NOT NULL THEN
                refused := 'the plan names a table that does not exist';
            END IF;
        END IF;
    ELSE
        SELECT coalesce(array_agg(after.key), '{}') INTO changed
        FROM jsonb_each(to_jsonb(NEW)) AS after WHERE after.value IS DISTINCT FROM to_jsonb(OLD) -> after.key;
        columns := CASE
            WHEN OLD.state = 'sealed' AND NEW.state = 'sealed' THEN ARRAY['ledger_position']
            WHEN OLD.state = 'sealed' AND NEW.state = 'erased' THEN ARRAY['state', 'erased_at', 'ledger_position']
            WHEN OLD.state = 'sealed' AND NEW.state = 'stopped' THEN ARRAY['state', 'stopped_at', 'stop_reason']
            WHEN OLD.state = 'erased' AND NEW.state = 'purged' THEN ARRAY['state', 'purged_at']
            ELSE ARRAY[]::text[]
        END;
        IF NEW.state <> OLD.state AND columns = ARRAY[]::text[] THEN
            refused := format('%s cannot become %s', OLD.state, NEW.state);
        ELSIF NOT changed <@ columns THEN
            refused := format('%s cannot be changed in this step', (SELECT string_agg(name, ', ' ORDER BY name) FROM unnest(changed) AS name WHERE name <> ALL (columns)));
        ELSIF NEW.state = 'erased' AND OLD.state = 'sealed' AND NEW.ledger_position IS NULL THEN
            refused := 'the ledger has no entry';
        ELSIF NEW.state <> OLD.state AND NEW.state IN ('erased', 'purged') THEN
            EXECUTE format('SELECT string_agg(step, '', '' ORDER BY id) FROM %I.erasure_steps WHERE erasure_id = $1 AND done_at IS NULL'
                || ' AND ($2 OR step NOT IN (''scan'', ''segments'', ''snapshots'', ''backups''))', TG_TABLE_SCHEMA)
                INTO open_steps USING NEW.id, NEW.state = 'purged';
            IF open_steps IS NOT NULL THEN
                refused := format('it cannot become %s before these steps: %s', NEW.state, open_steps);
            END IF;
        END IF;
    END IF;
    IF refused IS NOT NULL THEN
        RAISE EXCEPTION 'Erasure %: %.', NEW.id, refused
            USING ERRCODE = 'check_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = 'erasures_step_check';
    END IF;
    RETURN NEW;
END;
$function$;

-- BEFORE DELETE FOR EACH ROW.
CREATE OR REPLACE FUNCTION keep_erasure() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF coalesce(OLD.erased_at, OLD.stopped_at) IS NULL OR coalesce(OLD.erased_at, OLD.stopped_at) > clock_timestamp() - interval '1095 days' THEN
        RAISE EXCEPTION 'Erasure % is open, or ended in the last three years: it cannot be deleted.', OLD.id
            USING ERRCODE = 'restrict_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN OLD;
END;
$function$;

-- BEFORE UPDATE OR DELETE ON erasure_steps FOR EACH ROW. A cascade deletes the erasure first, so it passes.
CREATE OR REPLACE FUNCTION check_erasure_step() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    has_erasure boolean;
    refused text;
BEGIN
    IF TG_OP = 'DELETE' THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %I.erasures WHERE id = $1)', TG_TABLE_SCHEMA) INTO has_erasure USING OLD.erasure_id;
        IF NOT has_erasure THEN
            RETURN OLD;
        END IF;
        refused := 'a step cannot be deleted';
    ELSIF (NEW.id, NEW.erasure_id, NEW.step) IS DISTINCT FROM (OLD.id, OLD.erasure_id, OLD.step) THEN
        refused := 'only the result of a step can be changed';
    ELSIF OLD.done_at IS NOT NULL AND NEW IS DISTINCT FROM OLD THEN
        refused := format('the step %s is done', OLD.step);
    END IF;
    IF refused IS NOT NULL THEN
        RAISE EXCEPTION 'Erasure %: %.', OLD.erasure_id, refused
            USING ERRCODE = 'check_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = 'erasure_steps_result_check';
    END IF;
    RETURN NEW;
END;
$function$;

-- BEFORE TRUNCATE FOR EACH STATEMENT, on both tables.
CREATE OR REPLACE FUNCTION refuse_truncation_of_erasures() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RAISE EXCEPTION 'The table % is a proof: TRUNCATE is refused.', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
END;
$function$;

REVOKE ALL ON FUNCTION check_erasure() FROM PUBLIC;
REVOKE ALL ON FUNCTION keep_erasure() FROM PUBLIC;
REVOKE ALL ON FUNCTION check_erasure_step() FROM PUBLIC;
REVOKE ALL ON FUNCTION refuse_truncation_of_erasures() FROM PUBLIC;

CREATE OR REPLACE TRIGGER erasures_step_check BEFORE INSERT OR UPDATE ON erasures
    FOR EACH ROW EXECUTE FUNCTION check_erasure();
CREATE OR REPLACE TRIGGER erasures_kept BEFORE DELETE ON erasures
    FOR EACH ROW EXECUTE FUNCTION keep_erasure();
CREATE OR REPLACE TRIGGER erasures_not_truncated BEFORE TRUNCATE ON erasures
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncation_of_erasures();
CREATE OR REPLACE TRIGGER erasure_steps_result_check BEFORE DELETE OR UPDATE ON erasure_steps
    FOR EACH ROW EXECUTE FUNCTION check_erasure_step();
CREATE OR REPLACE TRIGGER erasure_steps_not_truncated BEFORE TRUNCATE ON erasure_steps
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncation_of_erasures();

ALTER TABLE erasures ENABLE ALWAYS TRIGGER erasures_step_check;
ALTER TABLE erasures ENABLE ALWAYS TRIGGER erasures_kept;
ALTER TABLE erasures ENABLE ALWAYS TRIGGER erasures_not_truncated;
ALTER TABLE erasure_steps ENABLE ALWAYS TRIGGER erasure_steps_result_check;
ALTER TABLE erasure_steps ENABLE ALWAYS TRIGGER erasure_steps_not_truncated;

REVOKE ALL ON erasures, erasure_steps FROM PUBLIC;
