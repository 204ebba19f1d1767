DROP SEQUENCE vector_points_removed_at;
DROP SEQUENCE vector_sync_version;
