DROP FUNCTION note_privacy_action_of_restricted_rows();
DROP FUNCTION refuse_reduced_data_of_erased_users();
