-- The version is the position in the order of application: django_migrations.id has gaps after a rollback, and its times are the client's.
CREATE VIEW schema_version AS
SELECT
    (row_number() OVER (ORDER BY id))::integer AS version,
    app || '.' || name AS description,
    applied AS applied_at
FROM django_migrations;
