DROP TRIGGER erased_users_changed ON profile_embeddings;
DROP FUNCTION refuse_changes_of_erased_users();
