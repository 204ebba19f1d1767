DROP TRIGGER erased_users_updated ON videos;
DROP TRIGGER erased_users_inserted ON videos;
