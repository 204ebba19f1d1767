"""JSON Schemas (2020-12) of what an export has, from the declarations and the fields of the models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.apps import apps
from django.contrib.postgres.fields import ArrayField
from django.db import models

from privacy.declarations import Export, PersonalData, TableDeclaration

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

PERSON: Schema = {
    "type": "string",
    "description": "The user's own id, or a pseudonym of another person, which is valid in this export only.",
}
TIME: Schema = {"type": "string", "format": "date-time"}
NUMBER: Schema = {"type": ["number", "string"]}
"""A number. JSON has no NaN and no infinity, which are texts."""

_TYPES: tuple[tuple[type[models.Field[Any, Any]], Schema], ...] = (
    (models.UUIDField, {"type": "string", "format": "uuid"}),
    (models.DateTimeField, TIME),
    (models.DateField, {"type": "string", "format": "date"}),
    (models.BooleanField, {"type": "boolean"}),
    (models.IntegerField, {"type": "integer"}),
    (models.AutoField, {"type": "integer"}),
    (models.FloatField, NUMBER),
    (models.DecimalField, NUMBER),
    (models.JSONField, {}),
)
"""A field of another type is a text."""


def array_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def object_of(properties: Mapping[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    """Return the schema of an object with exactly these properties."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required, "additionalProperties": False}


def or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def row_of(tables: Mapping[str, TableDeclaration], label: str, **properties: Schema) -> Schema:
    """Return the schema of a row of the table, with ``properties`` in addition or instead.

    A field of which a row has only the user's own part can be missing.
    """
    found = [
        (column, part, schema) for name, column, part, schema in _fields(label, tables[label]) if not {name, column} & properties.keys()
    ]
    optional = tuple(column for column, part, _ in found if part.export is Export.OWN_PART)
    return object_of({**{column: schema for column, _, schema in found}, **properties}, optional)


def section_of(tables: Mapping[str, TableDeclaration]) -> Schema:
    """Return the schema of a section: one row, or rows. With more than one exported table, the rows can have the fields of each."""
    exported = [label for label, table in tables.items() if any(part.export is not Export.NEVER for part in table.data)]
    if len(exported) == 1:
        row = row_of(tables, exported[0])
    else:
        row = {
            "type": "object",
            "properties": {column: schema for label in exported for _, column, _, schema in _fields(label, tables[label])},
        }
    return {"anyOf": [row, array_of(row)]}


def document(title: str, schema: Schema) -> Schema:
    return {"$schema": DIALECT, "title": title, **schema}


def _fields(label: str, table: TableDeclaration) -> Iterator[tuple[str, str, PersonalData, Schema]]:
    """Yield the exported fields: the name, the column, the declaration and the schema."""
    model = apps.get_model(label)
    links = {link.field for link in table.links}
    for part in table.data:
        if part.export is Export.NEVER:
            continue
        for name in part.fields:
            field = model._meta.get_field(name)
            assert isinstance(field, models.Field)
            schema = _type_of(field, is_person=name in links and isinstance(_target(field), models.UUIDField))
            yield name, getattr(field, "attname", name), part, {**schema, "description": _description(field, part, schema)}


def _type_of(field: models.Field[Any, Any], *, is_person: bool = False) -> Schema:
    if isinstance(field, models.ManyToManyField):
        return array_of({"type": "string"})
    if is_person:
        schema = PERSON
    elif isinstance(field, ArrayField):
        schema = array_of(_type_of(field.base_field))
    else:
        target = _target(field)
        schema = next((schema for kind, schema in _TYPES if isinstance(target, kind)), {"type": "string"})
    if not field.null or not schema:
        return dict(schema)
    kinds = schema["type"]
    return {**schema, "type": [*(kinds if isinstance(kinds, list) else [kinds]), "null"]}


def _target(field: models.Field[Any, Any]) -> Any:
    """Return the field whose values the column has: for a foreign key, that of the other table."""
    return getattr(field, "target_field", field) if field.is_relation and not field.many_to_many else field


def _description(field: models.Field[Any, Any], part: PersonalData, schema: Schema) -> str:
    values = [str(value) for value, _ in field.flatchoices]
    return " ".join(
        [
            *([schema["description"]] if "description" in schema else []),
            *([f"One of: {', '.join(values)}."] if values else []),
            f"Category: {part.category}. Purpose: {part.purpose.name}. Legal basis: article {', article '.join(part.purpose.legal_bases)}.",
            f"Kept {_kept(part)}.",
        ]
    )


def _kept(part: PersonalData) -> str:
    return f"for {part.retention}" if part.retention.period else str(part.retention)
