DROP SEQUENCE vector_last_deletion_at;
DROP SEQUENCE vector_sync_version;
