DROP FUNCTION note_privacy_action_of_restricted();
DROP FUNCTION note_privacy_action_of_column();
