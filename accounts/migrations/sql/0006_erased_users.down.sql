DROP TRIGGER note_erased_users_deleted ON users;
DROP TRIGGER note_erased_users_updated ON users;
DROP TRIGGER note_erased_users_inserted ON users;
DROP TRIGGER erased_users_updated ON users;
DROP TRIGGER erased_users_inserted ON users;
