DROP TRIGGER restricted_users_updated ON videos;
DROP TRIGGER restricted_users_inserted ON videos;
