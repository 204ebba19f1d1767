-- privacy/migrations/sql/0011_holds.up.sql defines the functions and explains their arguments.

CREATE OR REPLACE TRIGGER holds_deleted AFTER DELETE ON video_calls
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_deletion_of_held_rows('calls', 'caller_id,callee_id');
CREATE OR REPLACE TRIGGER holds_truncated BEFORE TRUNCATE ON video_calls
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncation_of_held_rows('calls');

ALTER TABLE video_calls ENABLE ALWAYS TRIGGER holds_deleted;
ALTER TABLE video_calls ENABLE ALWAYS TRIGGER holds_truncated;
