-- privacy/migrations/sql/0022_kept_and_restricted_data.up.sql defines the function.

CREATE OR REPLACE TRIGGER erased_users_reduced AFTER UPDATE ON users
    FOR EACH ROW WHEN (((old.date_of_birth IS DISTINCT FROM new.date_of_birth) OR ((old.gender)::text IS DISTINCT FROM (new.gender)::text)))
    EXECUTE FUNCTION refuse_reduced_data_of_erased_users();

ALTER TABLE users ENABLE ALWAYS TRIGGER erased_users_reduced;
