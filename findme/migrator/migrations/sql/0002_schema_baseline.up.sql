-- At most one row: the migrations that manage.py baseline recorded because their tables existed before FindMe. They cannot be undone: the tables and
-- their rows are not FindMe's to drop. Without completed_at, a later run of baseline continues.
CREATE TABLE schema_baseline (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    migrations text[] NOT NULL,
    started_at timestamp with time zone NOT NULL DEFAULT now()
        CONSTRAINT schema_baseline_started_at_range_check CHECK (started_at >= '0001-01-02 00:00+00' AND started_at < '9999-12-31 00:00+00'),
    completed_at timestamp with time zone
        CONSTRAINT schema_baseline_completed_at_range_check CHECK (completed_at >= '0001-01-02 00:00+00' AND completed_at < '9999-12-31 00:00+00')
);
