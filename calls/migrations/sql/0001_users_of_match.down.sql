DROP TRIGGER video_calls_users_of_match_check ON video_calls;
DROP FUNCTION require_users_of_match();
