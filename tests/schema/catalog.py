"""PostgreSQL's catalogs of one schema, as texts that can be compared with another schema."""

from __future__ import annotations

from django.db import connection

COLUMNS = """
    SELECT 'column ' || c.relname || '.' || a.attname,
           concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END,
                     CASE WHEN a.attgenerated = '' THEN 'default' ELSE 'generated' END || ' ' || pg_get_expr(d.adbin, d.adrelid))
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
"""
# PostgreSQL 18 also stores NOT NULL as a constraint ('n'). The columns above show it in every version.
CONSTRAINTS = """
    SELECT CASE contype WHEN 'c' THEN 'check' WHEN 'f' THEN 'foreign key' WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique' ELSE contype::text END
           || ' ' || conrelid::regclass || '.' || conname, regexp_replace(pg_get_constraintdef(oid), '\\s+', ' ', 'g')
    FROM pg_constraint WHERE connamespace = %(schema)s::regnamespace AND conrelid <> 0 AND contype NOT IN ('n', 't')
"""
INDEXES = """
    SELECT 'index ' || i.indrelid::regclass || '.' || c.relname, regexp_replace(pg_get_indexdef(c.oid), '^CREATE (UNIQUE )?INDEX \\S+ ON \\S+ ', '\\1')
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE c.relnamespace = %(schema)s::regnamespace AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = c.oid AND contype IN ('p', 'u'))
"""
TRIGGERS = """
    SELECT 'trigger ' || tgrelid::regclass || '.' || tgname, regexp_replace(pg_get_triggerdef(t.oid), '^CREATE (CONSTRAINT )?TRIGGER \\S+ (.*) ON \\S+ ', '\\1\\2 ')
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = %(schema)s::regnamespace AND NOT tgisinternal
"""
FUNCTIONS = """
    SELECT 'function ' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
           concat_ws(' ', pg_get_function_result(p.oid), l.lanname, CASE WHEN p.prosecdef THEN 'security definer' END,
                     array_to_string(p.proconfig, ' '), regexp_replace(trim(p.prosrc), '\\s+', ' ', 'g'))
    FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
    WHERE p.pronamespace = %(schema)s::regnamespace AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')
"""
RELATIONS = """
    SELECT 'relation ' || relname, CASE relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' ELSE relkind::text END
    FROM pg_class WHERE relnamespace = %(schema)s::regnamespace AND relkind NOT IN ('i', 't')
        AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype IN ('a', 'i') AND relkind = 'S')
"""
KINDS = (RELATIONS, COLUMNS, CONSTRAINTS, INDEXES, TRIGGERS, FUNCTIONS)


def catalog(schema: str) -> dict[str, str]:
    """Return the definition of each object in ``schema``, by its name. The name of the schema itself is left out."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('search_path', %s, false)", [f"{schema}, pg_catalog"])
        try:
            found: dict[str, str] = {}
            for query in KINDS:
                cursor.execute(query, {"schema": schema})
                found |= {name: definition.replace(f"{schema}.", "") for name, definition in cursor.fetchall()}
        finally:
            cursor.execute("SELECT set_config('search_path', 'public', false)")
    return found
