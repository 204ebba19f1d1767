DROP TRIGGER erased_users_reduced ON users;
