-- privacy/migrations/sql/0011_holds.up.sql defines the functions and explains their arguments.

CREATE OR REPLACE TRIGGER holds_deleted AFTER DELETE ON videos
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_deletion_of_held_rows('videos', 'user_id');
CREATE OR REPLACE TRIGGER holds_truncated BEFORE TRUNCATE ON videos
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncation_of_held_rows('videos');

ALTER TABLE videos ENABLE ALWAYS TRIGGER holds_deleted;
ALTER TABLE videos ENABLE ALWAYS TRIGGER holds_truncated;
