DROP TRIGGER erased_users_updated ON matches;
DROP TRIGGER erased_users_inserted ON matches;
