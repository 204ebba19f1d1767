"""The page of the tables lists exactly the objects in PostgreSQL's catalogs."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import code, page, rows, sections
from tests.schema.catalog import catalog

SECTIONS = sections(page("reference/tables.md"))
OTHERS = "Views, sequences and functions"
FOREIGN = re.compile(r"(auth|django|axes)_\w+")
"""Tables of Django and django-axes."""
OF_A_TABLE = ("primary key", "unique", "foreign key", "check", "index", "trigger")


@pytest.fixture
def names(db: None) -> list[str]:
    return list(catalog("public"))


def of(names: list[str], kind: str, table: str) -> set[str]:
    """Return the objects of this kind that belong to the table."""
    return {name.removeprefix(f"{kind} {table}.") for name in names if name.startswith(f"{kind} {table}.")}


def relations(names: list[str]) -> set[str]:
    found = {name.removeprefix("relation ") for name in names if name.startswith("relation ")}
    return {name for name in found if not FOREIGN.fullmatch(name)}


def functions(names: list[str]) -> set[str]:
    return {name.removeprefix("function ").partition("(")[0] for name in names if name.startswith("function ")}


def documented() -> dict[str, str]:
    return {name: body for name, body in SECTIONS.items() if name != OTHERS}


def test_tables__all_relations_and_functions_are_named(names: list[str]) -> None:
    others = {row[0].strip("`") for row in rows(SECTIONS[OTHERS])}
    assert documented().keys() | others == relations(names) | functions(names)


def test_tables__every_column_has_its_row(names: list[str]) -> None:
    for table, body in documented().items():
        assert {row[0].strip("`") for row in rows(body)} == of(names, "column", table)
        assert all(len(row) == 3 and all(row) for row in rows(body))


def test_tables__constraints_indexes_and_triggers_are_named(names: list[str]) -> None:
    for table, body in documented().items():
        named = set(re.findall(r"(?:^- |, )`(\w+)`(?=:| \(|,)", body, re.MULTILINE))
        expected = set().union(*(of(names, kind, table) for kind in OF_A_TABLE))
        assert named & expected == expected
        assert {name for name in named - expected if re.search(r"_(check|fkey|pkey|key|idx)$|^idx_", name)} == set()


def test_tables__functions_of_triggers_exist(names: list[str]) -> None:
    called = {name for body in documented().values() for name in re.findall(r"\(`(\w+)`\)", body)}
    assert called <= functions(names)
    assert "update_updated_at_column" in called


def test_tables__the_nullable_columns_are_those_without_not_null(db: None) -> None:
    found = catalog("public")
    for table, body in documented().items():
        for column, kind, _meaning in rows(body):
            definition = found[f"column {table}.{column.strip('`')}"]
            assert kind.endswith(", nullable") == (" not null" not in definition and " generated " not in definition), (table, column)


def test_pages__code_is_found() -> None:
    assert "users_email_key" in code(SECTIONS["users"])
