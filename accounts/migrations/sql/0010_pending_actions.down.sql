DROP TRIGGER note_privacy_action_hidden ON users;
DROP TRIGGER note_privacy_action_anonymized ON users;
DROP TRIGGER note_privacy_action_truncated ON users;
DROP TRIGGER note_privacy_action_deleted ON users;
