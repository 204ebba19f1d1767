"""The page on copying data says correctly which tables are copied and flushed."""

from __future__ import annotations

import re

from django.apps import apps

from findme.core.dumps.local_rows import local_models
from tests.docs.pages import code, page, rows, sections

PAGE = page("how-to/copy-data.md")


def test_copied__tables_are_those_of_the_code() -> None:
    listed = {table: row[1] for row in rows(sections(PAGE)["dumpdata and loaddata"]) for table in code(row[0])}
    local = {model._meta.db_table for model in local_models()}

    assert {table for table, copied in listed.items() if copied == "no"} == local
    ours = {model._meta.db_table for model in apps.get_models()}
    assert listed.keys() == ours


def test_flush__keeps_the_tables_that_the_page_names() -> None:
    [named] = re.findall(r"It keeps (.+?)\.\n", sections(PAGE)["flush"], re.DOTALL)
    assert set(code(named)) == {model._meta.db_table for model in apps.get_models() if getattr(model, "kept_by_flush", False)}
