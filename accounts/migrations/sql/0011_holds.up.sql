-- privacy/migrations/sql/0011_holds.up.sql defines the functions and explains their arguments.

CREATE OR REPLACE TRIGGER holds_deleted AFTER DELETE ON users
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_deletion_of_held_rows('', 'id');
CREATE OR REPLACE TRIGGER holds_truncated BEFORE TRUNCATE ON users
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncation_of_held_rows('');

ALTER TABLE users ENABLE ALWAYS TRIGGER holds_deleted;
ALTER TABLE users ENABLE ALWAYS TRIGGER holds_truncated;
