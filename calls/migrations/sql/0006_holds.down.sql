DROP TRIGGER holds_truncated ON video_calls;
DROP TRIGGER holds_deleted ON video_calls;
