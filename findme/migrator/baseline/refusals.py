"""What ``baseline`` refuses in one line, before it compares anything."""

from __future__ import annotations

from collections.abc import Collection

from django.db.backends.base.base import BaseDatabaseWrapper

from findme.core.errors import UserFacingError
from findme.core.postgresql.diagnosis import setting_advice, unreachable_trigrams
from findme.migrator.baseline.catalog import EXTENSIONS, quoted
from findme.migrator.baseline.scratch import GUIDE_TABLES
from findme.migrator.baseline.taken import UPDATED_AT

OLDEST_RELEASE = 15

_VISIBLE = """
    SELECT DISTINCT n.nspname::text FROM unnest(%s::text[]) AS name
    JOIN pg_class c ON c.oid = to_regclass(quote_ident(name)) AND c.relkind NOT IN ('i', 'I') JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY 1
"""
# auth.users of another product is not enough.
_ELSEWHERE = """
    SELECT nspname::text FROM pg_namespace n
    WHERE EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid AND relname = 'users' AND relkind IN ('r', 'p'))
    AND 2 <= (SELECT count(*) FROM pg_class WHERE relnamespace = n.oid AND relname = ANY(%s) AND relkind IN ('r', 'p'))
           + (SELECT count(*) FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
              WHERE relnamespace = n.oid AND relname = 'schema_migrations' AND attname = 'dirty')
    ORDER BY oid LIMIT 1
"""


def require_release(connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version_num')::int / 10000, current_setting('server_version')")
        release, name = cursor.fetchone()
    if release < OLDEST_RELEASE:
        raise UserFacingError(
            f"The server is PostgreSQL {name}, and FindMe needs {OLDEST_RELEASE} or later: nothing was changed. Upgrade the server."
        )


def find_schema(connection: BaseDatabaseWrapper) -> str:
    """Return the schema of the guide's tables that ``search_path`` finds, in which new tables are created too."""
    with connection.cursor() as cursor:
        cursor.execute(_VISIBLE, [list(GUIDE_TABLES)])
        schemas = [name for (name,) in cursor.fetchall()]
        cursor.execute(_ELSEWHERE, [list(GUIDE_TABLES)])
        elsewhere = cursor.fetchone()
        cursor.execute("SELECT current_database(), current_schema(), current_setting('search_path')")
        database, current, path = cursor.fetchone()
    if len(schemas) > 1:
        raise UserFacingError(
            f"The tables of the guide are in the schemas {' and '.join(schemas)}: nothing was changed. Move them with ALTER TABLE ... SET SCHEMA."
        )
    if not schemas and elsewhere is None:
        raise UserFacingError(
            f"The database {database!r} has no tables of the migration guide: nothing was changed. Run manage.py migrate."
        )
    schema = str(schemas[0] if schemas else elsewhere[0])
    if schema != current:
        _require_usage(connection, schema)
        with connection.cursor() as cursor:
            advice = setting_advice(cursor, "search_path", ", ".join(_schemas(connection, schema)))
        raise UserFacingError(
            f"search_path is {path!r}, and the tables of the guide are in the schema {schema!r}: nothing was changed. {advice}"
        )
    return schema


def _require_usage(connection: BaseDatabaseWrapper, schema: str) -> None:
    """Raise UserFacingError if the role may not use the schema: PostgreSQL then ignores it in ``search_path``."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user::text, has_schema_privilege(%s::regnamespace, 'USAGE')", [quoted(connection, schema)])
        role, may_use = cursor.fetchone()
    if not may_use:
        raise UserFacingError(
            f"The role {role!r} may not use the schema {schema!r} with the tables of the guide: nothing was changed."
            f" Run GRANT USAGE ON SCHEMA {quoted(connection, schema)} TO {quoted(connection, role)};"
        )


def _schemas(connection: BaseDatabaseWrapper, first: str) -> list[str]:
    """Return the quoted names of the schemas to search: that of the tables, public, and those of the extensions."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT nspname::text FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = ANY(%s) ORDER BY 1",
            [list(EXTENSIONS)],
        )
        return [quoted(connection, name) for name in dict.fromkeys((first, "public", *(name for (name,) in cursor.fetchall())))]


def golang_version(connection: BaseDatabaseWrapper, schema: str, tables: Collection[str]) -> int | None:
    """Return the version that golang-migrate recorded, or None. Raise UserFacingError if it is dirty."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
            WHERE c.relnamespace = %s::regnamespace AND c.relname = 'schema_migrations'
            AND (a.attname, a.atttypid) IN (('version', 'bigint'::regtype), ('dirty', 'boolean'::regtype))
            """,
            [quoted(connection, schema)],
        )
        if cursor.fetchone()[0] != 2:
            return None
        cursor.execute(f"SELECT version, dirty FROM {quoted(connection, schema)}.schema_migrations ORDER BY version DESC LIMIT 1")  # noqa: S608  # quoted
        row = cursor.fetchone()
    if row is None:
        return None
    version, is_dirty = row
    if is_dirty:
        # PostgreSQL runs the file of a migration in one transaction: all of it was applied, or nothing.
        is_applied = version <= len(GUIDE_TABLES) and GUIDE_TABLES[version - 1] in tables
        raise UserFacingError(
            f"schema_migrations is dirty at version {version}: nothing was changed."
            f" Run migrate -path backend/migrations/postgres -database $DATABASE_URL force {version if is_applied else version - 1}"
        )
    return int(version)


def require_permission(connection: BaseDatabaseWrapper, schema: str) -> None:
    """Raise UserFacingError if the role may not change the tables, or may not create objects."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT relname::text, pg_get_userbyid(relowner)::text FROM pg_class
            WHERE relnamespace = %s::regnamespace AND relname = ANY(%s) AND NOT pg_has_role(relowner, 'USAGE') ORDER BY 1 LIMIT 1
            """,
            [quoted(connection, schema), list(GUIDE_TABLES)],
        )
        foreign = cursor.fetchone()
        cursor.execute(
            """
            SELECT pg_get_userbyid(proowner)::text FROM pg_proc
            WHERE oid = to_regprocedure(%s) AND NOT pg_has_role(proowner, 'USAGE')
            """,
            [f"{quoted(connection, schema)}.{UPDATED_AT}"],
        )
        owner_of_function = cursor.fetchone()
        cursor.execute(
            """
            SELECT current_user::text, current_database()::text,
                has_database_privilege(current_database(), 'CREATE'), has_schema_privilege(%s::regnamespace, 'CREATE')
            """,
            [quoted(connection, schema)],
        )
        role, database, in_database, in_schema = cursor.fetchone()
    if foreign is not None:
        raise UserFacingError(
            f"The role {role!r} does not own the table {foreign[0]!r}, but {foreign[1]!r} does: nothing was changed. Set {foreign[1]!r} in DATABASE_URL."
        )
    for allowed, what, name in ((in_database, "DATABASE", database), (in_schema, "SCHEMA", schema)):
        if not allowed:
            raise UserFacingError(
                f"The role {role!r} may not create objects in the {what.lower()} {name!r}: nothing was changed."
                f" Run GRANT CREATE ON {what} {quoted(connection, name)} TO {quoted(connection, role)};"
            )
    if owner_of_function is not None:
        raise UserFacingError(
            f"The role {role!r} does not own the function {UPDATED_AT}, but {owner_of_function[0]!r} does: nothing was changed."
            f" Run ALTER FUNCTION {UPDATED_AT} OWNER TO {quoted(connection, role)};"
        )


def require_extension(connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm') OR EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm')"
        )
        if not cursor.fetchone()[0]:
            raise UserFacingError("The server has no extension pg_trgm: nothing was changed. Install the package postgresql-contrib on it.")
        if found := unreachable_trigrams(cursor):
            problem, advice = found
            raise UserFacingError(f"{problem[0].upper()}{problem[1:]}: nothing was changed. {advice}")
