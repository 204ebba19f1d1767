DROP TRIGGER holds_truncated ON users;
DROP TRIGGER holds_deleted ON users;
