-- The two users of a match never change. So a call that was checked stays valid, whatever another transaction does to its match.
--
-- findme/core/triggers/definitions.py reads the definitions from this file. verify_qdrant --repair runs its statements again, so each must be repeatable.

-- AFTER UPDATE FOR EACH ROW, WHEN the id or the pair changes. The two users may be swapped. With another id, two matches could exchange their calls.
CREATE OR REPLACE FUNCTION refuse_other_users_of_match() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RAISE EXCEPTION 'The id and the two users of match % cannot be changed. Insert another match.', OLD.id
        USING ERRCODE = 'check_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
END;
$function$;

REVOKE ALL ON FUNCTION refuse_other_users_of_match() FROM PUBLIC;

-- Not ALWAYS: as a foreign key, it does not fire with session_replication_role = replica.
CREATE OR REPLACE TRIGGER matches_users_check AFTER UPDATE ON matches
    FOR EACH ROW WHEN (((old.id IS DISTINCT FROM new.id)
        OR (LEAST(old.user_id, old.matched_user_id) IS DISTINCT FROM LEAST(new.user_id, new.matched_user_id))
        OR (GREATEST(old.user_id, old.matched_user_id) IS DISTINCT FROM GREATEST(new.user_id, new.matched_user_id))))
    EXECUTE FUNCTION refuse_other_users_of_match();
