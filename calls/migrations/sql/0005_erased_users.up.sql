-- privacy/migrations/sql/0001_erased_users.up.sql defines the functions and explains their arguments. calls/personal_data.py declares the columns.

CREATE OR REPLACE TRIGGER erased_users_inserted AFTER INSERT ON video_calls
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_rows_of_erased_users('caller_id,callee_id',
        'session_id=deleted_{id}',
        'recording_url',
        'metadata');
CREATE OR REPLACE TRIGGER erased_users_updated AFTER UPDATE ON video_calls
    FOR EACH ROW WHEN (((old.caller_id IS DISTINCT FROM new.caller_id)
        OR (old.callee_id IS DISTINCT FROM new.callee_id)
        OR ((old.session_id)::text IS DISTINCT FROM (new.session_id)::text)
        OR ((old.recording_url)::text IS DISTINCT FROM (new.recording_url)::text)
        OR (old.metadata IS DISTINCT FROM new.metadata)))
    EXECUTE FUNCTION refuse_data_of_erased_users('caller_id,callee_id',
        'session_id=deleted_{id}',
        'recording_url',
        'metadata');

ALTER TABLE video_calls ENABLE ALWAYS TRIGGER erased_users_inserted;
ALTER TABLE video_calls ENABLE ALWAYS TRIGGER erased_users_updated;
