"""Check a JSON document against a schema with the keywords of the exports. Another keyword is an error, so no rule is passed over."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any
from uuid import UUID

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
KEYWORDS = {"$schema", "title", "description", "type", "format", "properties", "required", "additionalProperties", "items", "anyOf"}
UNREADABLE = re.compile(r"-?infinity|\d{4,}-\d\d-\d\d.*( BC)?")
"""What PostgreSQL writes for a date that Python cannot read."""


def errors(value: Any, schema: dict[str, Any], place: str = "$") -> Iterator[str]:
    """Yield a line for each rule of the schema that the value breaks. Raise ValueError for an unknown keyword."""
    if unknown := schema.keys() - KEYWORDS:
        raise ValueError(f"{place}: unknown keywords {sorted(unknown)}")
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(_has_type(value, name) for name in names):
            yield f"{place}: {type(value).__name__} is none of {names}"
    if "anyOf" in schema and all(any(errors(value, one, place)) for one in schema["anyOf"]):
        yield f"{place}: matches none of anyOf: {[next(errors(value, one, place)) for one in schema['anyOf']]}"
    if isinstance(value, str) and "format" in schema and not _has_format(value, schema["format"]):
        yield f"{place}: {value!r} is no {schema['format']}"
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        yield from (f"{place}: {name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, inner in value.items():
            if name in properties:
                yield from errors(inner, properties[name], f"{place}.{name}")
            elif schema.get("additionalProperties") is False:
                yield f"{place}: {name} is not allowed"
    if isinstance(value, list) and "items" in schema:
        for number, inner in enumerate(value):
            yield from errors(inner, schema["items"], f"{place}[{number}]")


def _has_type(value: Any, name: str) -> bool:
    return isinstance(value, TYPES[name]) and not (isinstance(value, bool) and name != "boolean")


def _has_format(value: str, name: str) -> bool:
    if UNREADABLE.fullmatch(value) and name in ("date", "date-time"):
        return True
    readers: dict[str, Callable[[str], object]] = {"uuid": UUID, "date": date.fromisoformat, "date-time": datetime.fromisoformat}
    try:
        readers[name](value)
    except ValueError:
        return False
    return True
