-- privacy/migrations/sql/0001_erased_users.up.sql has the functions and the meaning of their arguments. vectorstore/personal_data.py declares the columns.

CREATE OR REPLACE TRIGGER erased_users_inserted AFTER INSERT ON profile_embeddings
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_rows_of_erased_users('user_id');
CREATE OR REPLACE TRIGGER erased_users_updated AFTER UPDATE ON profile_embeddings
    FOR EACH ROW WHEN ((old.user_id IS DISTINCT FROM new.user_id))
    EXECUTE FUNCTION refuse_data_of_erased_users('user_id');

ALTER TABLE profile_embeddings ENABLE ALWAYS TRIGGER erased_users_inserted;
ALTER TABLE profile_embeddings ENABLE ALWAYS TRIGGER erased_users_updated;
