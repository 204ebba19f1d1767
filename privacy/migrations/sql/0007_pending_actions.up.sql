-- No user leaves unseen: triggers note each user who is deleted, anonymized, softly deleted or restored, in the transaction that does it.
--
-- accounts/migrations creates the triggers on users. The argument is the kind of the ledger (privacy.models.LedgerEntry.Kind), for changed rows those of
-- both directions. The functions run with the owner's privileges, so that no role needs a privilege on the table.

-- AFTER DELETE FOR EACH STATEMENT, with old_rows.
CREATE OR REPLACE FUNCTION note_privacy_action_of_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    EXECUTE format('INSERT INTO %I.pending_actions (user_id, kind) SELECT id, $1 FROM old_rows', TG_TABLE_SCHEMA) USING TG_ARGV[0]::smallint;
    RETURN NULL;
END;
$function$;

-- BEFORE TRUNCATE FOR EACH STATEMENT: the rows can still be read.
CREATE OR REPLACE FUNCTION note_privacy_action_of_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    EXECUTE format('INSERT INTO %1$I.pending_actions (user_id, kind) SELECT id, $1 FROM %1$I.users', TG_TABLE_SCHEMA) USING TG_ARGV[0]::smallint;
    RETURN NULL;
END;
$function$;

-- AFTER UPDATE FOR EACH ROW, WHEN the row gets the address of an anonymized user.
CREATE OR REPLACE FUNCTION note_privacy_action_of_anonymized() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    EXECUTE format('INSERT INTO %I.pending_actions (user_id, kind) VALUES ($1, $2)', TG_TABLE_SCHEMA) USING NEW.id, TG_ARGV[0]::smallint;
    RETURN NULL;
END;
$function$;

-- AFTER UPDATE FOR EACH ROW, WHEN deleted_at becomes a time or NULL.
CREATE OR REPLACE FUNCTION note_privacy_action_of_hidden() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    EXECUTE format('INSERT INTO %I.pending_actions (user_id, kind) VALUES ($1, $2)', TG_TABLE_SCHEMA)
        USING NEW.id, CASE WHEN NEW.deleted_at IS NULL THEN TG_ARGV[1] ELSE TG_ARGV[0] END::smallint;
    RETURN NULL;
END;
$function$;

-- AFTER DELETE ON erased_users FOR EACH STATEMENT, with old_rows: an erasure or an anonymization was undone.
CREATE OR REPLACE FUNCTION note_privacy_action_of_undone() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    EXECUTE format('INSERT INTO %I.pending_actions (user_id, kind) SELECT user_id, CASE WHEN deleted THEN $1 ELSE $2 END FROM old_rows', TG_TABLE_SCHEMA)
        USING TG_ARGV[0]::smallint, TG_ARGV[1]::smallint;
    RETURN NULL;
END;
$function$;

REVOKE ALL ON FUNCTION note_privacy_action_of_deleted() FROM PUBLIC;
REVOKE ALL ON FUNCTION note_privacy_action_of_truncated() FROM PUBLIC;
REVOKE ALL ON FUNCTION note_privacy_action_of_anonymized() FROM PUBLIC;
REVOKE ALL ON FUNCTION note_privacy_action_of_hidden() FROM PUBLIC;
REVOKE ALL ON FUNCTION note_privacy_action_of_undone() FROM PUBLIC;

CREATE OR REPLACE TRIGGER erased_users_undone AFTER DELETE ON erased_users
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION note_privacy_action_of_undone('2', '4');

ALTER TABLE erased_users ENABLE ALWAYS TRIGGER erased_users_undone;

REVOKE ALL ON pending_actions FROM PUBLIC;
