-- No query has a condition on a number of a vector. Without statistics on them, ANALYZE of the table takes a hundredth of the time, and no numbers of
-- erased users stay in pg_statistic.

ALTER TABLE profile_embeddings ALTER COLUMN vector SET STATISTICS 0, ALTER COLUMN video_features SET STATISTICS 0;
