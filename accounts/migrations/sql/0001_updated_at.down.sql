DROP TRIGGER update_users_updated_at ON users;
DROP FUNCTION update_updated_at_column();
