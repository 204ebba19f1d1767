"""The page about ``baseline``: the code contains its output and its messages."""

from __future__ import annotations

import re

import pytest
from django.apps import apps

from tests.docs.pages import blocks, code, page, rows, sections
from tests.docs.source import is_printed, unknown_pieces

PAGE = page("how-to/take-over-a-database.md")
SHOWN = [line.strip() for block in blocks(PAGE, "console") for line in block.splitlines()]
OUTPUT = [line for line in SHOWN if not line.startswith(("$", "kept: ")) and line != "..."]
MESSAGES = [re.findall(r"`([^`]*)`", row[0])[0] for row in rows(sections(PAGE)["Messages"])]


@pytest.mark.parametrize("line", OUTPUT)
def test_output__is_in_the_code(line: str) -> None:
    assert is_printed(line)


@pytest.mark.parametrize("message", MESSAGES)
def test_message__is_in_the_code(message: str) -> None:
    assert unknown_pieces(message) == []


def test_remedies__each_has_its_row() -> None:
    listed = {name for row in rows(sections(PAGE)["Remedies"]) for name in code(row[0])}
    assert listed == {remedy.rule for config in apps.get_app_configs() for remedy in getattr(config, "remedies", ())}
