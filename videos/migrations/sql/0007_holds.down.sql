DROP TRIGGER holds_truncated ON videos;
DROP TRIGGER holds_deleted ON videos;
