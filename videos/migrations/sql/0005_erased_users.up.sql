-- privacy/migrations/sql/0001_erased_users.up.sql defines the functions and explains their arguments. videos/personal_data.py declares the columns.

CREATE OR REPLACE TRIGGER erased_users_inserted AFTER INSERT ON videos
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_rows_of_erased_users('user_id',
        'storage_url',
        'thumbnail_url',
        'rejection_reason',
        'metadata',
        'deleted_at!');
CREATE OR REPLACE TRIGGER erased_users_updated AFTER UPDATE ON videos
    FOR EACH ROW WHEN (((old.user_id IS DISTINCT FROM new.user_id)
        OR ((old.storage_url)::text IS DISTINCT FROM (new.storage_url)::text)
        OR ((old.thumbnail_url)::text IS DISTINCT FROM (new.thumbnail_url)::text)
        OR (old.rejection_reason IS DISTINCT FROM new.rejection_reason)
        OR (old.metadata IS DISTINCT FROM new.metadata)
        OR (old.deleted_at IS DISTINCT FROM new.deleted_at)))
    EXECUTE FUNCTION refuse_data_of_erased_users('user_id',
        'storage_url',
        'thumbnail_url',
        'rejection_reason',
        'metadata',
        'deleted_at!');

ALTER TABLE videos ENABLE ALWAYS TRIGGER erased_users_inserted;
ALTER TABLE videos ENABLE ALWAYS TRIGGER erased_users_updated;
