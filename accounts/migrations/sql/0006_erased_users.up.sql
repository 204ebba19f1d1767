-- privacy/migrations/sql/0001_erased_users.up.sql defines the functions and explains their arguments. accounts/personal_data.py declares the columns.

CREATE OR REPLACE TRIGGER erased_users_inserted AFTER INSERT ON users
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_rows_of_erased_users('id',
        'email=deleted_{id}@findme.ai',
        'full_name=Deleted User',
        'bio',
        'password_hash',
        'deleted_at!',
        'last_login',
        'is_superuser=false');
CREATE OR REPLACE TRIGGER erased_users_updated AFTER UPDATE ON users
    FOR EACH ROW WHEN (((old.id IS DISTINCT FROM new.id)
        OR ((old.email)::text IS DISTINCT FROM (new.email)::text)
        OR ((old.full_name)::text IS DISTINCT FROM (new.full_name)::text)
        OR (old.bio IS DISTINCT FROM new.bio)
        OR ((old.password_hash)::text IS DISTINCT FROM (new.password_hash)::text)
        OR (old.deleted_at IS DISTINCT FROM new.deleted_at)
        OR (old.last_login IS DISTINCT FROM new.last_login)
        OR (old.is_superuser IS DISTINCT FROM new.is_superuser)))
    EXECUTE FUNCTION refuse_data_of_erased_users('id',
        'email=deleted_{id}@findme.ai',
        'full_name=Deleted User',
        'bio',
        'password_hash',
        'deleted_at!',
        'last_login',
        'is_superuser=false');

-- PostgreSQL fires triggers in the order of their names: it rejects a row before these triggers note it.
CREATE OR REPLACE TRIGGER note_erased_users_inserted AFTER INSERT ON users
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_anonymized_rows();
CREATE OR REPLACE TRIGGER note_erased_users_updated AFTER UPDATE ON users
    FOR EACH ROW WHEN ((((new.email)::text = (('deleted_'::text || (new.id)::text) || '@findme.ai'::text)) AND (((old.email)::text IS DISTINCT FROM (new.email)::text) OR ((new.deleted_at IS NOT NULL) AND (old.deleted_at IS DISTINCT FROM new.deleted_at)))))
    EXECUTE FUNCTION note_anonymized_user();
CREATE OR REPLACE TRIGGER note_erased_users_deleted AFTER DELETE ON users
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION note_deleted_users();

ALTER TABLE users ENABLE ALWAYS TRIGGER erased_users_inserted;
ALTER TABLE users ENABLE ALWAYS TRIGGER erased_users_updated;
ALTER TABLE users ENABLE ALWAYS TRIGGER note_erased_users_inserted;
ALTER TABLE users ENABLE ALWAYS TRIGGER note_erased_users_updated;
ALTER TABLE users ENABLE ALWAYS TRIGGER note_erased_users_deleted;
