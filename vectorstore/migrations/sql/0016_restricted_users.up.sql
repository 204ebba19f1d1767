-- privacy/migrations/sql/0022_kept_and_restricted_data.up.sql defines the function and explains its argument.

CREATE OR REPLACE TRIGGER restricted_users_inserted AFTER INSERT ON profile_embeddings
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_privacy_action_of_restricted_rows('user_id');
CREATE OR REPLACE TRIGGER restricted_users_updated AFTER UPDATE ON profile_embeddings
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_privacy_action_of_restricted_rows('user_id');

ALTER TABLE profile_embeddings ENABLE ALWAYS TRIGGER restricted_users_inserted;
ALTER TABLE profile_embeddings ENABLE ALWAYS TRIGGER restricted_users_updated;
