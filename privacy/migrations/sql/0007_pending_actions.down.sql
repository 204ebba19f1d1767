DROP TRIGGER erased_users_undone ON erased_users;
DROP FUNCTION note_privacy_action_of_undone();
DROP FUNCTION note_privacy_action_of_hidden();
DROP FUNCTION note_privacy_action_of_anonymized();
DROP FUNCTION note_privacy_action_of_truncated();
DROP FUNCTION note_privacy_action_of_deleted();
