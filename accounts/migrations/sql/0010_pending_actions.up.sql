-- privacy/migrations/sql/0007_pending_actions.up.sql defines the functions. The arguments are kinds of the ledger: 1 erase, 3 anonymize, 5 soft delete,
-- 6 undo a soft deletion.

-- PostgreSQL fires triggers in the order of their names: it rejects a row before these triggers note it.
CREATE OR REPLACE TRIGGER note_privacy_action_deleted AFTER DELETE ON users
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION note_privacy_action_of_deleted('1');
CREATE OR REPLACE TRIGGER note_privacy_action_truncated BEFORE TRUNCATE ON users
    FOR EACH STATEMENT EXECUTE FUNCTION note_privacy_action_of_truncated('1');
CREATE OR REPLACE TRIGGER note_privacy_action_anonymized AFTER UPDATE ON users
    FOR EACH ROW WHEN ((((new.email)::text = (('deleted_'::text || (new.id)::text) || '@findme.ai'::text)) AND ((old.email)::text IS DISTINCT FROM (new.email)::text)))
    EXECUTE FUNCTION note_privacy_action_of_anonymized('3');
CREATE OR REPLACE TRIGGER note_privacy_action_hidden AFTER UPDATE ON users
    FOR EACH ROW WHEN (((old.deleted_at IS NULL) IS DISTINCT FROM (new.deleted_at IS NULL)))
    EXECUTE FUNCTION note_privacy_action_of_hidden('5', '6');

ALTER TABLE users ENABLE ALWAYS TRIGGER note_privacy_action_deleted;
ALTER TABLE users ENABLE ALWAYS TRIGGER note_privacy_action_truncated;
ALTER TABLE users ENABLE ALWAYS TRIGGER note_privacy_action_anonymized;
ALTER TABLE users ENABLE ALWAYS TRIGGER note_privacy_action_hidden;
