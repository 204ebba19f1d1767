-- The id of a user never changes. The erasure ledger, the audit log, requests and files know the user by the id only: under another id, an anonymized user
-- would lose the protection, and a restriction would be lost in a restore.
--
-- findme/core/triggers/definitions.py reads the definitions from this file. verify_qdrant --repair runs its statements again, so each must be repeatable.

-- BEFORE UPDATE OF id FOR EACH ROW, WHEN it changes. Statements that do not name the column never run it.
CREATE OR REPLACE FUNCTION refuse_changed_user_id() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RAISE EXCEPTION 'The id of the user % cannot be changed: the erasure ledger knows the user by it.', OLD.id
        USING ERRCODE = 'restrict_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = 'users_id_kept';
END;
$function$;

REVOKE ALL ON FUNCTION refuse_changed_user_id() FROM PUBLIC;

CREATE OR REPLACE TRIGGER users_id_kept BEFORE UPDATE OF id ON users
    FOR EACH ROW WHEN ((old.id IS DISTINCT FROM new.id)) EXECUTE FUNCTION refuse_changed_user_id();

ALTER TABLE users ENABLE ALWAYS TRIGGER users_id_kept;
