DROP TRIGGER erased_users_strongest ON erased_users;
DROP TRIGGER erased_users_kept ON erased_users;
DROP FUNCTION keep_strongest_of_erased_user();
DROP FUNCTION keep_erased_users();
DROP FUNCTION note_deleted_users();
DROP FUNCTION note_anonymized_rows();
DROP FUNCTION note_anonymized_user();
DROP FUNCTION refuse_data_of_erased_users();
DROP FUNCTION refuse_rows_of_erased_users();
