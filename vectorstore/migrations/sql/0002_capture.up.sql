CREATE SEQUENCE vector_sync_version CACHE 1;

-- When a point was last removed from Qdrant, in milliseconds since 1970. A sequence: it is set at once, without a lock that somebody could wait for,
-- and whatever becomes of the transaction that sets it. Whatever was removed before this migration was removed before now.
CREATE SEQUENCE vector_last_deletion_at CACHE 1;
SELECT setval('vector_last_deletion_at', ceil(extract(epoch FROM clock_timestamp()) * 1000)::bigint);

-- Rows come and go all day: what is dead is cleared away early, so that a worker does not read through it.
ALTER TABLE vector_sync_queue SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
ALTER TABLE vector_sync_leases SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

INSERT INTO vector_store_state DEFAULT VALUES;

-- The points that were made before have no version, and the age of some day.
INSERT INTO vector_sync_queue (user_id) SELECT user_id FROM profile_embeddings;
UPDATE vector_store_state
SET ages_refreshed_on = (now() AT TIME ZONE 'UTC')::date, ages_last_entry_id = (SELECT max(id) FROM vector_sync_queue);
