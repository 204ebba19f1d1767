DROP TRIGGER erased_users_updated ON profile_embeddings;
DROP TRIGGER erased_users_inserted ON profile_embeddings;
