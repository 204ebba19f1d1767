DROP TABLE schema_baseline;
