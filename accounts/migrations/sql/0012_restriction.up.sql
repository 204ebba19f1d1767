-- privacy/migrations/sql/0017_changes_while_restricted.up.sql defines the functions. The numbers are kinds of the ledger: 7 restrict, 8 lift a restriction,
-- 9 object, 10 withdraw an objection.

CREATE OR REPLACE TRIGGER note_privacy_action_restricted AFTER UPDATE ON users
    FOR EACH ROW WHEN (((old.restricted_at IS NULL) IS DISTINCT FROM (new.restricted_at IS NULL)))
    EXECUTE FUNCTION note_privacy_action_of_column('restricted_at', '7', '8');
CREATE OR REPLACE TRIGGER note_privacy_action_objected AFTER UPDATE ON users
    FOR EACH ROW WHEN (((old.objected_at IS NULL) IS DISTINCT FROM (new.objected_at IS NULL)))
    EXECUTE FUNCTION note_privacy_action_of_column('objected_at', '9', '10');
CREATE OR REPLACE TRIGGER note_privacy_action_while_restricted AFTER UPDATE ON users
    FOR EACH ROW WHEN (((old.restricted_at IS NOT NULL) AND ((new.email)::text IS DISTINCT FROM (('deleted_'::text || (new.id)::text) || '@findme.ai'::text))))
    EXECUTE FUNCTION note_privacy_action_of_restricted();

ALTER TABLE users ENABLE ALWAYS TRIGGER note_privacy_action_restricted;
ALTER TABLE users ENABLE ALWAYS TRIGGER note_privacy_action_objected;
ALTER TABLE users ENABLE ALWAYS TRIGGER note_privacy_action_while_restricted;
