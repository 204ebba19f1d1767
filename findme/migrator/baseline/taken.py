"""Names that the migrations need and that something else in the schema has."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from django.db.backends.base.base import BaseDatabaseWrapper

from findme.migrator.baseline.catalog import quoted
from findme.migrator.baseline.recognized import Difference
from findme.migrator.baseline.scratch import GUIDE_TABLES, Function, MigratedSchema, read_functions, read_relations

KINDS = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "i": "index",
    "I": "partitioned index",
    "S": "sequence",
    "type": "type",
}
"""What to call a relation, by ``pg_class.relkind``."""
KEYWORDS = {"v": "VIEW", "m": "MATERIALIZED VIEW", "f": "FOREIGN TABLE", "i": "INDEX", "I": "INDEX", "S": "SEQUENCE", "type": "TYPE"}
"""The keyword after ALTER, where it is not TABLE."""

RECORDS = "django_migrations"
"""Django's table of the applied migrations. It can exist before the first one is applied."""
UPDATED_AT = "update_updated_at_column()"
_TYPES = "SELECT typname::text FROM pg_type WHERE typnamespace = %s::regnamespace AND typrelid = 0 AND typtype IN ('e', 'd', 'r', 'b') AND typelem = 0"


def own_name(name: str) -> str:
    """Return the name that an object of the owner can have instead."""
    return f"{name}_own"


def taken_names(connection: BaseDatabaseWrapper, schema: str, migrated: MigratedSchema, recorded: Collection[str]) -> Iterator[Difference]:
    """Yield the relations and functions that a migration would create and that exist already, unless it is in ``recorded`` (``app.name``).

    The objects of the guide's tables are compared with their tables.
    """
    existing = read_relations(connection, schema)
    with connection.cursor() as cursor:
        cursor.execute(_TYPES, [quoted(connection, schema)])
        existing |= {name: ("type", None) for (name,) in cursor.fetchall() if name not in existing}
    wanted = {
        name: one for name, one in migrated.relations.items() if one.kind != "S" and one.migration not in recorded and name in existing
    }
    for name, one in wanted.items():
        kind, table = existing[name]
        if (
            name in GUIDE_TABLES
            or one.kind == "S"
            or RECORDS in (name, one.table)
            or (one.table == table and table in (*GUIDE_TABLES, *wanted))
        ):
            continue
        keyword, found = KEYWORDS.get(kind, "TABLE"), KINDS.get(kind, kind)
        what = f"{'an' if found == 'index' else 'a'} {found} of another program"
        statement = f"ALTER {keyword} {name} RENAME TO {own_name(name)};"
        yield Difference(f"{found} {name}", what, f"a free name, for the {KINDS[one.kind]} of {one.migration}", statement)
    yield from _functions(read_functions(connection, schema), migrated, recorded)


def _functions(existing: dict[str, Function], migrated: MigratedSchema, recorded: Collection[str]) -> Iterator[Difference]:
    for name, expected in migrated.functions.items():
        found = existing.get(name)
        if found is None or found == expected or migrated.creators[name] in recorded:
            continue
        if name == UPDATED_AT:  # the guide's own function: the triggers of its tables use it
            statement = f"CREATE OR REPLACE FUNCTION {name} RETURNS trigger LANGUAGE {expected.language} AS $$ {expected.body} $$;"
            is_other_body = (found.language, found.body) != (expected.language, expected.body)
            what = f"another body: {found.body}" if is_other_body else f"other options: {found.options}"
            yield Difference(f"function {name}", what, expected.body if is_other_body else expected.options or "no options", statement)
        else:
            statement = f"ALTER FUNCTION {name} RENAME TO {own_name(name.partition('(')[0])};"
            yield Difference(
                f"function {name}", "a function of another program", f"a free name, for that of {migrated.creators[name]}", statement
            )


def own_relations(connection: BaseDatabaseWrapper, schema: str, migrated: MigratedSchema) -> Iterator[str]:
    """Yield the tables and views of the schema that neither the guide nor the migrations create, without those of extensions."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT relname::text, relkind::text FROM pg_class c
            WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
            ORDER BY 1
            """,
            [quoted(connection, schema)],
        )
        for name, kind in cursor.fetchall():
            if name not in migrated.relations:
                yield f"{KINDS[kind]} {name}"
