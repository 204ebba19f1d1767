-- The guide's statement anonymizes a user and keeps the embedding. No new vector, location or interest may be written to it. 0012_erased_users rejects
-- inserted rows and rows that get another user. This migration rejects changed rows. Cleared values and unchanged values are allowed.

-- AFTER UPDATE FOR EACH STATEMENT, with old_rows and new_rows. The argument is the column that names the user, and the primary key.
--
-- It compares whole rows, so a new column is covered. In READ COMMITTED it does not lock the users. An UPDATE of an embedding would deadlock with the
-- deletion of its user, which locks the user and waits for the embedding. This misses nothing, because a deletion and anonymize_user delete the embedding.
-- In the other isolation levels the snapshot may be older than the erasure. There the lock makes PostgreSQL raise a serialization failure.
CREATE OR REPLACE FUNCTION refuse_changes_of_erased_users() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    erased uuid[];
    refused uuid;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        EXECUTE format('SELECT FROM %I.users WHERE id IN (SELECT %I FROM new_rows) ORDER BY id FOR KEY SHARE', TG_TABLE_SCHEMA, TG_ARGV[0]);
    END IF;
    -- Most statements write no row of an erased user. Only rows of erased users are compared, because planning the second query takes 0.2 ms.
    EXECUTE format($sql$
        SELECT array_agg(e.user_id) FROM new_rows n JOIN %I.erased_users e ON e.user_id = n.%I
    $sql$, TG_TABLE_SCHEMA, TG_ARGV[0]) INTO erased;
    IF erased IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format($sql$
        SELECT (array_agg(n.%1$I))[1] FROM new_rows n JOIN old_rows o ON o.%1$I = n.%1$I
        WHERE n.%1$I = ANY ($1) AND EXISTS (
            SELECT FROM jsonb_each(to_jsonb(n)) AS written JOIN jsonb_each(to_jsonb(o)) AS before ON before.key = written.key
            WHERE written.key NOT IN ('created_at', 'updated_at')
            AND written.value <> before.value AND written.value NOT IN ('null', '""', '[]', '{}')
        )
    $sql$, TG_ARGV[0]) INTO refused USING erased;
    IF refused IS NOT NULL THEN
        RAISE EXCEPTION 'User % was anonymized or deleted for good: no data of this user may be written to the table %.', refused, TG_TABLE_NAME
            USING ERRCODE = 'check_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_TABLE_NAME || '_erased_user_check';
    END IF;
    RETURN NULL;
END;
$function$;

REVOKE ALL ON FUNCTION refuse_changes_of_erased_users() FROM PUBLIC;

CREATE OR REPLACE TRIGGER erased_users_changed AFTER UPDATE ON profile_embeddings
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_changes_of_erased_users('user_id');

ALTER TABLE profile_embeddings ENABLE ALWAYS TRIGGER erased_users_changed;
