"""The query for the roles that the objects of a database name.

PostgreSQL gives oids below 16384 to what initdb makes. ``pg_dump`` writes nothing of that but the schema ``public``.
"""

from __future__ import annotations

CATALOGS = {
    "pg_class": ("relowner", "relacl"),
    "pg_namespace": ("nspowner", "nspacl"),
    "pg_proc": ("proowner", "proacl"),
    "pg_type": ("typowner", "typacl"),
    "pg_language": ("lanowner", "lanacl"),
    "pg_largeobject_metadata": ("lomowner", "lomacl"),
    "pg_foreign_data_wrapper": ("fdwowner", "fdwacl"),
    "pg_foreign_server": ("srvowner", "srvacl"),
    "pg_default_acl": ("defaclrole", "defaclacl"),
    "pg_operator": ("oprowner", ""),
    "pg_opclass": ("opcowner", ""),
    "pg_opfamily": ("opfowner", ""),
    "pg_collation": ("collowner", ""),
    "pg_conversion": ("conowner", ""),
    "pg_ts_dict": ("dictowner", ""),
    "pg_ts_config": ("cfgowner", ""),
    "pg_statistic_ext": ("stxowner", ""),
    "pg_event_trigger": ("evtowner", ""),
    "pg_publication": ("pubowner", ""),
}
"""The catalogs whose objects have owners, with the columns of owner and grants."""


# Members of an extension are made by CREATE EXTENSION, and the dump does not name their owner.
DUMPED = """
    ({catalog}.oid >= 16384 {or_public}) AND NOT EXISTS (
        SELECT FROM pg_depend d
        WHERE d.classid = '{catalog}'::regclass AND d.objid = {catalog}.oid AND d.objsubid = 0 AND d.deptype = 'e')
"""
OWNERS = "SELECT {owner} FROM {catalog} WHERE {dumped}"
GRANTED = "SELECT unnest(ARRAY[a.grantor, a.grantee]) FROM {catalog}, aclexplode({grants}) a WHERE {dumped}"
# The last part has grants on objects of the system and of extensions, and all that CATALOGS lacks. It has no role that initdb makes.
OTHERS = """
    SELECT datdba FROM pg_database WHERE datname = current_database()
    UNION SELECT unnest(ARRAY[a.grantor, a.grantee]) FROM pg_database, aclexplode(datacl) a WHERE datname = current_database()
    UNION SELECT setrole FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION SELECT unnest(ARRAY[a.grantor, a.grantee]) FROM pg_attribute, aclexplode(attacl) a WHERE NOT attisdropped AND attrelid >= 16384
    UNION SELECT unnest(polroles) FROM pg_policy
    UNION SELECT umuser FROM pg_user_mappings
    UNION SELECT refobjid FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND deptype IN ('a', 'r')
        AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def _of_catalog(catalog: str, owner: str, grants: str) -> str:
    or_public = "OR nspname = 'public'" if catalog == "pg_namespace" else ""
    dumped = DUMPED.format(catalog=catalog, or_public=or_public)
    queries = [OWNERS.format(owner=owner, catalog=catalog, dumped=dumped)]
    if grants:
        queries.append(GRANTED.format(grants=grants, catalog=catalog, dumped=dumped))
    return " UNION ".join(queries)


NEEDED_ROLES = " UNION ".join((OTHERS, *(_of_catalog(catalog, *columns) for catalog, columns in CATALOGS.items())))
"""SQL that returns their oids. 0 is PUBLIC."""
