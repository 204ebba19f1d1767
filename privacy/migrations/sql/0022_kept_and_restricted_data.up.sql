-- Data that an anonymization has reduced cannot be written back, and changes of the rows of restricted users are recorded.
--
-- Each app creates the triggers of its own tables. The functions run with the owner's privileges, so that no role needs a privilege on the tables of
-- privacy.
--
-- findme/core/triggers/definitions.py reads the definitions from this file. verify_qdrant --repair runs its statements again, so each must be repeatable.

-- AFTER UPDATE ON users FOR EACH ROW, WHEN the date of birth or the gender changes. An anonymization leaves the gender, and of the date of birth the year:
-- the date can only become the first day of its year. An erasure around a hold leaves neither: both can only get the value that all such rows have.
-- accounts/personal_data.py writes the same values.
CREATE OR REPLACE FUNCTION refuse_reduced_data_of_erased_users() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    is_deleted boolean;
    emptied date := '1900-01-01';
    reduced date := greatest(OLD.date_of_birth - coalesce(extract(doy FROM OLD.date_of_birth), 1)::integer + 1, '0001-01-02');
BEGIN
    EXECUTE format('SELECT deleted FROM %I.erased_users WHERE user_id = $1', TG_TABLE_SCHEMA) INTO is_deleted USING NEW.id;
    IF is_deleted IS NULL THEN
        RETURN NULL;
    END IF;
    IF (NEW.date_of_birth <> OLD.date_of_birth AND NEW.date_of_birth <> emptied AND (is_deleted OR NEW.date_of_birth <> reduced))
        OR (NEW.gender <> OLD.gender AND NEW.gender <> 'other' AND is_deleted) THEN
        RAISE EXCEPTION 'User % was anonymized or deleted for good: no data of this user may be written to the table %.', NEW.id, TG_TABLE_NAME
            USING ERRCODE = 'check_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_TABLE_NAME || '_erased_user_check';
    END IF;
    RETURN NULL;
END;
$function$;

-- AFTER INSERT or AFTER UPDATE FOR EACH STATEMENT, with new_rows. The argument is the column that refers to users. An error would make a statement for many
-- rows fail because of one, so the rows are accepted and recorded, once for each user. An anonymization changes the address first, and is not recorded.
CREATE OR REPLACE FUNCTION note_privacy_action_of_restricted_rows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    EXECUTE format($sql$
        INSERT INTO %1$I.audit_log (actor_account, action, target_id, outcome)
        SELECT session_user, 'restricted_change', u.id, 'done' FROM %1$I.users u
        WHERE u.id IN (SELECT r.%2$I FROM new_rows r) AND u.restricted_at IS NOT NULL AND u.email <> 'deleted_' || u.id::text || '@findme.ai'
    $sql$, TG_TABLE_SCHEMA, TG_ARGV[0]);
    RETURN NULL;
END;
$function$;

REVOKE ALL ON FUNCTION refuse_reduced_data_of_erased_users() FROM PUBLIC;
REVOKE ALL ON FUNCTION note_privacy_action_of_restricted_rows() FROM PUBLIC;
