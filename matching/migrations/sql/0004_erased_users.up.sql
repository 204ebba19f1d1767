-- privacy/migrations/sql/0001_erased_users.up.sql defines the functions and explains their arguments. matching/personal_data.py declares the columns.

CREATE OR REPLACE TRIGGER erased_users_inserted AFTER INSERT ON matches
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_rows_of_erased_users('user_id,matched_user_id',
        'created_at<');
CREATE OR REPLACE TRIGGER erased_users_updated AFTER UPDATE ON matches
    FOR EACH ROW WHEN (((old.user_id IS DISTINCT FROM new.user_id)
        OR (old.matched_user_id IS DISTINCT FROM new.matched_user_id)
        OR (old.created_at IS DISTINCT FROM new.created_at)))
    EXECUTE FUNCTION refuse_data_of_erased_users('user_id,matched_user_id',
        'created_at<');

ALTER TABLE matches ENABLE ALWAYS TRIGGER erased_users_inserted;
ALTER TABLE matches ENABLE ALWAYS TRIGGER erased_users_updated;
