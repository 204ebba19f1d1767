DROP TRIGGER note_privacy_action_while_restricted ON users;
DROP TRIGGER note_privacy_action_objected ON users;
DROP TRIGGER note_privacy_action_restricted ON users;
