DROP TRIGGER erased_users_updated ON video_calls;
DROP TRIGGER erased_users_inserted ON video_calls;
