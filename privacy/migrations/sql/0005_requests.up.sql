-- A request of a data subject is a proof: its state changes only by the allowed steps, each step writes only its own columns, and no request is deleted
-- in the first three years after it was closed. Even the owner must disable a trigger first.
--
-- privacy/requests/lifecycle.py has the same steps, and a test compares both.
--
-- findme/core/triggers/definitions.py reads the definitions from this file. verify_qdrant --repair runs its statements again, so each must be repeatable.

-- BEFORE INSERT OR UPDATE FOR EACH ROW.
CREATE OR REPLACE FUNCTION check_request_step() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    next_states text[];
    changed text[];
    columns text[];
    refused text;
    earliest date;
    paused integer;
    -- A day is over in no time zone before it has begun in all of them.
    tomorrow date := (clock_timestamp() AT TIME ZONE 'UTC')::date + 1;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'received' THEN
            refused := format('a new request is received, not %s', NEW.state);
        ELSIF NEW.extension_informed_on IS NOT NULL OR NEW.stopped_on IS NOT NULL THEN
            refused := 'a new request has no extension and no stopped processing';
        ELSIF NEW.contact IS NULL AND (NEW.user_id IS NULL OR NEW.kind = 'erasure') THEN
            refused := 'a request of another person than a user, and an erasure, need a contact address';
        END IF;
    ELSE
        SELECT coalesce(array_agg(after.key), '{}') INTO changed
        FROM jsonb_each(to_jsonb(NEW)) AS after WHERE after.value IS DISTINCT FROM to_jsonb(OLD) -> after.key;
        IF NEW.state <> OLD.state THEN
            next_states := CASE OLD.state
                WHEN 'received' THEN ARRAY['identity_asked', 'identified', 'refused', 'withdrawn']
                WHEN 'identity_asked' THEN ARRAY['identified', 'refused', 'withdrawn']
                WHEN 'identified' THEN ARRAY['approved', 'refused', 'withdrawn']
                WHEN 'approved' THEN ARRAY['answered', 'refused', 'withdrawn']
                ELSE ARRAY[]::text[]
            END;
            columns := CASE NEW.state
                WHEN 'identity_asked' THEN ARRAY['identity_asked_on']
                WHEN 'identified' THEN ARRAY['identity_confirmed_on', 'identity_method', 'identity_confirmed_by_id', 'identity_confirmed_by_account', 'user_id', 'first_due_on', 'due_on']
                WHEN 'approved' THEN ARRAY['approved_at', 'approved_by_id', 'approved_by_account']
                WHEN 'answered' THEN ARRAY['closed_on']
                WHEN 'refused' THEN ARRAY['refusal_ground', 'informed_of_remedies', 'closed_on']
                WHEN 'withdrawn' THEN ARRAY['withdrawal_reason', 'closed_on']
            END || ARRAY['state'];
            IF NEW.state <> ALL (next_states) THEN
                refused := format('%s cannot become %s, only: %s', OLD.state, NEW.state, coalesce(nullif(array_to_string(next_states, ', '), ''), 'nothing'));
            END IF;
        ELSIF OLD.closed_on IS NOT NULL THEN
            columns := CASE WHEN NEW.contact IS NULL THEN ARRAY['contact'] ELSE ARRAY[]::text[] END;
        ELSE
            columns := CASE WHEN NEW.contact IS NOT NULL THEN ARRAY['contact'] ELSE ARRAY[]::text[] END
                || CASE WHEN OLD.extension_informed_on IS NULL AND NEW.extension_informed_on IS NOT NULL
                    THEN ARRAY['extension_informed_on', 'extension_reason', 'due_on'] ELSE ARRAY[]::text[] END
                || CASE WHEN OLD.state = 'approved' AND OLD.stopped_on IS NULL THEN ARRAY['stopped_on'] ELSE ARRAY[]::text[] END;
        END IF;
        IF refused IS NULL AND NOT changed <@ columns THEN
            refused := format('%s cannot be changed in this step', (SELECT string_agg(name, ', ' ORDER BY name) FROM unnest(changed) AS name WHERE name <> ALL (columns)));
        ELSIF refused IS NULL AND OLD.user_id IS NOT NULL AND NEW.user_id IS DISTINCT FROM OLD.user_id THEN
            refused := 'user_id cannot be changed once it is set';
        ELSIF refused IS NULL AND NEW.identity_asked_on IS DISTINCT FROM OLD.identity_asked_on AND NEW.identity_asked_on > OLD.due_on THEN
            refused := 'the identity was asked for after the deadline';
        ELSIF refused IS NULL AND NEW.extension_informed_on IS DISTINCT FROM OLD.extension_informed_on AND NEW.extension_informed_on > OLD.first_due_on THEN
            refused := 'the data subject was informed of the extension after the deadline';
        END IF;
    END IF;
    -- NULL is ignored. Later expressions would raise other errors for infinite dates.
    IF refused IS NULL AND greatest(NEW.received_on, NEW.identity_asked_on, NEW.identity_confirmed_on, NEW.extension_informed_on, NEW.stopped_on, NEW.closed_on) > tomorrow THEN
        refused := 'a date of a step is in the future';
    ELSIF refused IS NULL AND least(NEW.received_on, NEW.identity_asked_on, NEW.identity_confirmed_on, NEW.extension_informed_on, NEW.stopped_on, NEW.closed_on) < '0001-01-02' THEN
        refused := 'a date of a step is out of range';
    END IF;
    IF refused IS NULL THEN
        -- Article 12 (3) GDPR, Regulation 1182/71. PostgreSQL, too, ends a month on its last day if it has no such date. It does not know the holidays.
        paused := coalesce(NEW.identity_confirmed_on - NEW.identity_asked_on, 0);
        earliest := (NEW.received_on + interval '1 month')::date + paused;
        IF NOT (NEW.first_due_on BETWEEN earliest AND earliest + 10 AND extract(isodow FROM NEW.first_due_on) < 6) THEN
            refused := format('the deadline %s is not a working day from %s to %s', NEW.first_due_on, earliest, earliest + 10);
        ELSIF NEW.extension_informed_on IS NULL AND NEW.due_on <> NEW.first_due_on THEN
            refused := format('the deadline %s without an extension is not %s', NEW.due_on, NEW.first_due_on);
        ELSIF NEW.extension_informed_on IS NOT NULL THEN
            earliest := (NEW.received_on + interval '3 months')::date + paused;
            IF NOT (NEW.due_on BETWEEN earliest AND earliest + 10 AND extract(isodow FROM NEW.due_on) < 6) THEN
                refused := format('the extended deadline %s is not a working day from %s to %s', NEW.due_on, earliest, earliest + 10);
            END IF;
        END IF;
    END IF;
    IF refused IS NOT NULL THEN
        RAISE EXCEPTION 'Request %: %.', NEW.id, refused
            USING ERRCODE = 'check_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = 'data_subject_requests_step_check';
    END IF;
    RETURN NEW;
END;
$function$;

-- BEFORE DELETE FOR EACH ROW.
CREATE OR REPLACE FUNCTION keep_request() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF OLD.closed_on IS NULL OR OLD.closed_on > (clock_timestamp() AT TIME ZONE 'UTC')::date - 1095 THEN
        RAISE EXCEPTION 'Request % is open, or was closed in the last three years: it cannot be deleted.', OLD.id
            USING ERRCODE = 'restrict_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN OLD;
END;
$function$;

-- BEFORE TRUNCATE FOR EACH STATEMENT, on both tables.
CREATE OR REPLACE FUNCTION refuse_truncation_of_requests() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RAISE EXCEPTION 'The table % is a proof: TRUNCATE is refused.', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
END;
$function$;

-- BEFORE INSERT OR UPDATE OR DELETE ON request_recipients FOR EACH ROW. A cascade deletes the request first, so it passes.
CREATE OR REPLACE FUNCTION check_request_recipient() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    request record;
    refused text;
BEGIN
    EXECUTE format('SELECT kind, state FROM %I.data_subject_requests WHERE id = $1 FOR SHARE', TG_TABLE_SCHEMA)
        INTO request USING CASE WHEN TG_OP = 'DELETE' THEN OLD.request_id ELSE NEW.request_id END;
    IF TG_OP = 'DELETE' THEN
        IF request.kind IS NULL THEN
            RETURN OLD;
        END IF;
        refused := 'a recipient cannot be deleted';
    ELSIF request.state NOT IN ('approved', 'answered') OR request.kind NOT IN ('rectification', 'erasure', 'restriction') THEN
        refused := format('recipients are informed of an approved rectification, erasure or restriction, not of a request with kind %s and state %s',
                          request.kind, request.state);
    ELSIF TG_OP = 'UPDATE' THEN
        IF (NEW.id, NEW.request_id, NEW.recipient) IS DISTINCT FROM (OLD.id, OLD.request_id, OLD.recipient) THEN
            refused := 'only the outcome for a recipient can be changed';
        ELSIF (OLD.informed_on IS NOT NULL OR OLD.not_informed_reason <> '') AND NEW IS DISTINCT FROM OLD THEN
            refused := 'the outcome for this recipient is final';
        END IF;
    END IF;
    IF NEW.informed_on > (clock_timestamp() AT TIME ZONE 'UTC')::date + 1 THEN
        refused := coalesce(refused, 'a date of a step is in the future');
    END IF;
    IF refused IS NOT NULL THEN
        RAISE EXCEPTION 'Request %: %.', coalesce(NEW.request_id, OLD.request_id), refused
            USING ERRCODE = 'check_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = 'request_recipients_step_check';
    END IF;
    RETURN NEW;
END;
$function$;

REVOKE ALL ON FUNCTION check_request_step() FROM PUBLIC;
REVOKE ALL ON FUNCTION keep_request() FROM PUBLIC;
REVOKE ALL ON FUNCTION refuse_truncation_of_requests() FROM PUBLIC;
REVOKE ALL ON FUNCTION check_request_recipient() FROM PUBLIC;

CREATE OR REPLACE TRIGGER data_subject_requests_step_check BEFORE INSERT OR UPDATE ON data_subject_requests
    FOR EACH ROW EXECUTE FUNCTION check_request_step();
CREATE OR REPLACE TRIGGER data_subject_requests_kept BEFORE DELETE ON data_subject_requests
    FOR EACH ROW EXECUTE FUNCTION keep_request();
CREATE OR REPLACE TRIGGER data_subject_requests_not_truncated BEFORE TRUNCATE ON data_subject_requests
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncation_of_requests();
CREATE OR REPLACE TRIGGER request_recipients_step_check BEFORE INSERT OR DELETE OR UPDATE ON request_recipients
    FOR EACH ROW EXECUTE FUNCTION check_request_recipient();
CREATE OR REPLACE TRIGGER request_recipients_not_truncated BEFORE TRUNCATE ON request_recipients
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncation_of_requests();

ALTER TABLE data_subject_requests ENABLE ALWAYS TRIGGER data_subject_requests_step_check;
ALTER TABLE data_subject_requests ENABLE ALWAYS TRIGGER data_subject_requests_kept;
ALTER TABLE data_subject_requests ENABLE ALWAYS TRIGGER data_subject_requests_not_truncated;
ALTER TABLE request_recipients ENABLE ALWAYS TRIGGER request_recipients_step_check;
ALTER TABLE request_recipients ENABLE ALWAYS TRIGGER request_recipients_not_truncated;

REVOKE ALL ON data_subject_requests, request_recipients FROM PUBLIC;
