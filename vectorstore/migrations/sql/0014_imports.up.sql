-- privacy/migrations/sql/0001_erased_users.up.sql and 0013_erased_users_changed.up.sql have the functions. vectorstore/personal_data.py declares the
-- columns.

CREATE OR REPLACE TRIGGER erased_users_inserted AFTER INSERT ON vector_import_digests
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_rows_of_erased_users('user_id');
CREATE OR REPLACE TRIGGER erased_users_updated AFTER UPDATE ON vector_import_digests
    FOR EACH ROW WHEN ((old.user_id IS DISTINCT FROM new.user_id))
    EXECUTE FUNCTION refuse_data_of_erased_users('user_id');
CREATE OR REPLACE TRIGGER erased_users_changed AFTER UPDATE ON vector_import_digests
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_changes_of_erased_users('user_id');

ALTER TABLE vector_import_digests ENABLE ALWAYS TRIGGER erased_users_inserted;
ALTER TABLE vector_import_digests ENABLE ALWAYS TRIGGER erased_users_updated;
ALTER TABLE vector_import_digests ENABLE ALWAYS TRIGGER erased_users_changed;
