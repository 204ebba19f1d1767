"""The definition of the schema ``public`` in PostgreSQL's catalogs, as lines that can be compared."""

from __future__ import annotations

from tests.support.database import Database

NOT_OF_AN_EXTENSION = "NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = {oid} AND d.deptype = 'e')"

QUERIES = {
    "relation": """
        SELECT concat_ws(' ', relname, relkind, relpersistence, reloptions, relrowsecurity)
        FROM pg_class r WHERE relnamespace = 'public'::regnamespace AND {mine}
    """,
    "column": """
        SELECT concat_ws(' ', r.relname, attname, format_type(atttypid, atttypmod),
            CASE WHEN attnotnull THEN 'NOT NULL' END, attstorage, attcompression, attidentity, attgenerated, attcollation::regcollation,
            'DEFAULT ' || pg_get_expr(adbin, adrelid))
        FROM pg_attribute JOIN pg_class r ON r.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm', 'p') AND attnum > 0 AND NOT attisdropped AND {mine}
    """,
    "order": """
        SELECT concat_ws(' ', r.relname, string_agg(attname, ', ' ORDER BY attnum))
        FROM pg_attribute JOIN pg_class r ON r.oid = attrelid
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm', 'p') AND attnum > 0 AND NOT attisdropped AND {mine}
        GROUP BY r.oid
    """,
    "constraint": """
        SELECT concat_ws(' ', conrelid::regclass, conname, convalidated, pg_get_constraintdef(r.oid))
        FROM pg_constraint r WHERE connamespace = 'public'::regnamespace AND {mine}
    """,
    "index": """
        SELECT concat_ws(' ', pg_get_indexdef(indexrelid), indisvalid, indisunique, indisprimary)
        FROM pg_index JOIN pg_class r ON r.oid = indexrelid WHERE relnamespace = 'public'::regnamespace AND {mine}
    """,
    "trigger": "SELECT concat_ws(' ', pg_get_triggerdef(r.oid), tgenabled) FROM pg_trigger r WHERE NOT tgisinternal AND {mine}",
    "function": """
        SELECT concat_ws(' ', pg_get_functiondef(r.oid), replace(proacl::text, pg_get_userbyid(proowner), 'its owner'))
        FROM pg_proc r WHERE pronamespace = 'public'::regnamespace AND {mine}
    """,
    "view": """
        SELECT concat_ws(' ', relname, pg_get_viewdef(r.oid))
        FROM pg_class r WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace AND {mine}
    """,
    "sequence": """
        SELECT concat_ws(' ', sequencename, data_type, start_value, min_value, max_value, increment_by, cycle, cache_size)
        FROM pg_sequences WHERE schemaname = 'public'
    """,
    "type": """
        SELECT concat_ws(' ', typname, typtype, format_type(typbasetype, typtypmod))
        FROM pg_type r WHERE typnamespace = 'public'::regnamespace AND typtype <> 'c' AND typelem = 0 AND {mine}
    """,
    "extension": "SELECT extname::text FROM pg_extension",
}


def catalog(database: Database) -> list[str]:
    """Return one line for each object, sorted."""
    mine = NOT_OF_AN_EXTENSION.format(oid="r.oid")
    with database.connect() as session:
        return sorted(
            f"{kind}: {' '.join(str(line).split())}"
            for kind, query in QUERIES.items()
            for (line,) in session.execute(query.format(mine=mine).encode()).fetchall()
        )
