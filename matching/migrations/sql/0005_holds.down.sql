DROP TRIGGER holds_truncated ON matches;
DROP TRIGGER holds_deleted ON matches;
