-- At most one row: the migrations that manage.py baseline recorded because their tables existed before FindMe. They cannot be undone: the tables and
-- their rows are not FindMe's to drop. Without completed_at, a later run of baseline continues.
CREATE TABLE schema_baseline (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    migrations text[] NOT NULL,
    started_at timestamp with time zone NOT NULL DEFAULT now(),
    completed_at timestamp with time zone
);
