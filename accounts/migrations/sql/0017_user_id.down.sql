DROP TRIGGER users_id_kept ON users;
DROP FUNCTION refuse_changed_user_id();
