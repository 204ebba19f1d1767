CREATE SEQUENCE vector_sync_version CACHE 1;

-- The time of the last deletion of a point in Qdrant, in milliseconds since 1970. It is a sequence because setval takes effect immediately, holds no
-- lock that another transaction waits for, and is not rolled back. Points that were deleted before this migration were deleted before now.
CREATE SEQUENCE vector_last_deletion_at CACHE 1;
SELECT setval('vector_last_deletion_at', ceil(extract(epoch FROM clock_timestamp()) * 1000)::bigint);

-- Rows are inserted and deleted all day. An early vacuum removes dead rows, so that workers do not read them.
ALTER TABLE vector_sync_queue SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
ALTER TABLE vector_sync_leases SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

INSERT INTO vector_store_state DEFAULT VALUES;

-- Points that were written before have no version, and the day of their ages is unknown.
INSERT INTO vector_sync_queue (user_id) SELECT user_id FROM profile_embeddings;
UPDATE vector_store_state
SET ages_refreshed_on = (now() AT TIME ZONE 'UTC')::date, ages_last_entry_id = (SELECT max(id) FROM vector_sync_queue);
