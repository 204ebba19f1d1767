-- An anonymized or deleted user stays erased, whatever writes: an open page, a stale object, a restore, a service.
--
-- erased_users has the id of each erased user. These functions protect the table, and reject writes that would restore data of these users. Each app
-- creates the triggers of its own tables. The functions run with the owner's privileges, so that no role needs a privilege on erased_users. Therefore
-- search_path has only PostgreSQL's own schema, and tables are qualified with the schema of the table that fired the trigger.
--
-- The arguments of the two functions that reject: first the columns that refer to users, then the protected columns of the table, each with its
-- allowed values for an erased user:
--   name         NULL, '' or {}
--   name=value   NULL or this value; {id} in it is replaced by the row's id
--   name!        anything but NULL
--   name<        a time before the erasure
-- Without protected columns, or for a user who was deleted for good, no row may be written.
--
-- findme/core/triggers/definitions.py reads the definitions from this file. verify_qdrant --repair runs its statements again, so each must be repeatable.

-- AFTER INSERT FOR EACH STATEMENT, with new_rows. It locks the users first: a plain SELECT would accept the row during an uncommitted anonymization.
-- If the transaction's snapshot is older than the lock, PostgreSQL raises a serialization failure.
CREATE OR REPLACE FUNCTION refuse_rows_of_erased_users() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    users text := (SELECT string_agg(format('SELECT r.%I', name), ' UNION ALL ') FROM unnest(string_to_array(TG_ARGV[0], ',')) AS name);
    refused text := 'true';
    found uuid;
    noted uuid[];
BEGIN
    IF TG_NARGS > 1 THEN
        refused := (
            SELECT string_agg(
                CASE
                    WHEN argument LIKE '%!' THEN format('r.%I IS NULL', rtrim(argument, '!'))
                    WHEN argument LIKE '%<' THEN format('NOT coalesce(r.%I < e.erased_at, false)', rtrim(argument, '<'))
                    WHEN argument LIKE '%=%' THEN format('to_jsonb(r) ->> %L <> replace(%L, ''{id}'', r.id::text)',
                                                         split_part(argument, '=', 1), substr(argument, strpos(argument, '=') + 1))
                    ELSE format('to_jsonb(r) ->> %L NOT IN ('''', ''{}'')', argument)
                END, ' OR ')
            FROM unnest(TG_ARGV[1:]) AS argument
        );
    END IF;
    IF TG_TABLE_NAME <> 'users' THEN
        EXECUTE format($sql$
            SELECT FROM %1$I.users WHERE id IN (SELECT named.user_id FROM new_rows r CROSS JOIN LATERAL (%2$s) AS named(user_id))
            ORDER BY id FOR KEY SHARE
        $sql$, TG_TABLE_SCHEMA, users);
    END IF;
    -- With LIMIT 1, PostgreSQL would look up each row separately. For the aggregate, it hashes the erased users.
    EXECUTE format($sql$
        SELECT (array_agg(e.user_id))[1] FROM new_rows r CROSS JOIN LATERAL (%2$s) AS named(user_id)
        JOIN %1$I.erased_users e ON e.user_id = named.user_id WHERE %3$s
    $sql$, TG_TABLE_SCHEMA, users, format('e.deleted OR (%s)', refused)) INTO found;
    IF TG_TABLE_NAME = 'users' AND current_setting('transaction_isolation') <> 'read committed' THEN
        -- Another transaction may have committed a deletion after this transaction's snapshot, which does not show it. Inserting the same key raises a
        -- serialization failure.
        EXECUTE format($sql$
            WITH noted AS (INSERT INTO %1$I.erased_users (user_id) SELECT id FROM new_rows ON CONFLICT DO NOTHING RETURNING user_id)
            SELECT array_agg(user_id) FROM noted
        $sql$, TG_TABLE_SCHEMA) INTO noted;
        EXECUTE format('DELETE FROM %I.erased_users WHERE user_id = ANY($1)', TG_TABLE_SCHEMA) USING noted;
    END IF;
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'User % was anonymized or deleted for good: no data of this user may be written to the table %.', found, TG_TABLE_NAME
            USING ERRCODE = 'check_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_TABLE_NAME || '_erased_user_check';
    END IF;
    RETURN NULL;
END;
$function$;

-- AFTER UPDATE FOR EACH ROW, WHEN a protected column or one that refers to users changes. Unchanged and cleared values are allowed.
CREATE OR REPLACE FUNCTION refuse_data_of_erased_users() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    before jsonb := to_jsonb(OLD);
    after jsonb := to_jsonb(NEW);
    columns text[] := string_to_array(TG_ARGV[0], ',');
    users uuid[] := (SELECT array_agg((row_ ->> name)::uuid) FROM unnest(columns) AS name, unnest(ARRAY[before, after]) AS row_);
    is_moved boolean := (SELECT bool_or(before -> name IS DISTINCT FROM after -> name) FROM unnest(columns) AS name);
    erased record;
    is_refused boolean;
BEGIN
    IF TG_TABLE_NAME <> 'users' THEN
        EXECUTE format('SELECT FROM %I.users WHERE id = ANY($1) ORDER BY id FOR KEY SHARE', TG_TABLE_SCHEMA) USING users;
    END IF;
    FOR erased IN EXECUTE format('SELECT user_id, erased_at FROM %I.erased_users WHERE user_id = ANY($1)', TG_TABLE_SCHEMA) USING users LOOP
        is_refused := TG_NARGS = 1 OR (is_moved AND TG_TABLE_NAME = 'users') OR EXISTS (
            SELECT FROM (
                SELECT rtrim(split_part(argument, '=', 1), '!<') AS name, argument FROM unnest(TG_ARGV[1:]) AS argument
            ) AS protected
            WHERE (is_moved OR before -> name IS DISTINCT FROM after -> name)
            AND CASE
                WHEN argument LIKE '%!' THEN after ->> name IS NULL
                WHEN argument LIKE '%<' THEN NOT coalesce((after ->> name)::timestamptz < erased.erased_at, false)
                WHEN argument LIKE '%=%' THEN after ->> name <> replace(substr(argument, strpos(argument, '=') + 1), '{id}', after ->> 'id')
                ELSE after ->> name NOT IN ('', '{}')
            END
        );
        IF is_refused THEN
            RAISE EXCEPTION 'User % was anonymized or deleted for good: no data of this user may be written to the table %.', erased.user_id, TG_TABLE_NAME
                USING ERRCODE = 'check_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_TABLE_NAME || '_erased_user_check';
        END IF;
    END LOOP;
    RETURN NULL;
END;
$function$;

-- AFTER UPDATE ON users FOR EACH ROW, WHEN the row gets the address of an anonymized user. So the guide's own UPDATE is enough.
CREATE OR REPLACE FUNCTION note_anonymized_user() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    EXECUTE format('INSERT INTO %I.erased_users (user_id, deleted) VALUES ($1, false) ON CONFLICT DO NOTHING', TG_TABLE_SCHEMA) USING NEW.id;
    RETURN NULL;
END;
$function$;

-- AFTER INSERT ON users FOR EACH STATEMENT, with new_rows: a loaded dump can contain anonymized users.
CREATE OR REPLACE FUNCTION note_anonymized_rows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    EXECUTE format($sql$
        INSERT INTO %I.erased_users (user_id, deleted)
        SELECT id, false FROM new_rows WHERE email LIKE 'deleted\_%%' AND email = 'deleted_' || id::text || '@findme.ai'
        ON CONFLICT DO NOTHING
    $sql$, TG_TABLE_SCHEMA);
    RETURN NULL;
END;
$function$;

-- AFTER DELETE ON users FOR EACH STATEMENT, with old_rows.
CREATE OR REPLACE FUNCTION note_deleted_users() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    EXECUTE format($sql$
        INSERT INTO %I.erased_users (user_id, deleted) SELECT id, true FROM old_rows
        ON CONFLICT (user_id) DO UPDATE SET deleted = true, erased_at = DEFAULT
    $sql$, TG_TABLE_SCHEMA);
    RETURN NULL;
END;
$function$;

-- BEFORE UPDATE ON erased_users FOR EACH ROW: an older copy of the table cannot turn a deletion into an anonymization, or an erasure into a later one.
CREATE OR REPLACE FUNCTION keep_strongest_of_erased_user() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF OLD.deleted OR NOT NEW.deleted THEN
        NEW.deleted := OLD.deleted;
        NEW.erased_at := least(OLD.erased_at, NEW.erased_at);
    END IF;
    RETURN NEW;
END;
$function$;

-- BEFORE UPDATE OR DELETE OR TRUNCATE ON erased_users FOR EACH STATEMENT: only a member of the owner's role can undo an erasure, whatever was
-- granted. Not SECURITY DEFINER, because the function checks the current role.
CREATE OR REPLACE FUNCTION keep_erased_users() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF NOT pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'MEMBER') THEN
        RAISE EXCEPTION 'Only the role that owns the table erased_users may take an erasure back.' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END;
$function$;

REVOKE ALL ON FUNCTION refuse_rows_of_erased_users() FROM PUBLIC;
REVOKE ALL ON FUNCTION refuse_data_of_erased_users() FROM PUBLIC;
REVOKE ALL ON FUNCTION note_anonymized_user() FROM PUBLIC;
REVOKE ALL ON FUNCTION note_anonymized_rows() FROM PUBLIC;
REVOKE ALL ON FUNCTION note_deleted_users() FROM PUBLIC;
REVOKE ALL ON FUNCTION keep_strongest_of_erased_user() FROM PUBLIC;
REVOKE ALL ON FUNCTION keep_erased_users() FROM PUBLIC;

CREATE OR REPLACE TRIGGER erased_users_kept BEFORE DELETE OR UPDATE OR TRUNCATE ON erased_users
    FOR EACH STATEMENT EXECUTE FUNCTION keep_erased_users();

CREATE OR REPLACE TRIGGER erased_users_strongest BEFORE UPDATE ON erased_users
    FOR EACH ROW EXECUTE FUNCTION keep_strongest_of_erased_user();

ALTER TABLE erased_users ENABLE ALWAYS TRIGGER erased_users_kept;
ALTER TABLE erased_users ENABLE ALWAYS TRIGGER erased_users_strongest;
