"""The page for users of the migration guide has an equivalent for every command and program of the guide."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import code, page, rows, sections

LISTED = (Path(__file__).parent / "guide_commands.txt").read_text(encoding="utf-8").splitlines()
COMMANDS = [line for line in LISTED if not line.startswith("#")]
ROWS = rows(sections(page("from-the-guide.md"))["Commands and programs of the guide"])
SHOWN = [shown.replace("\\|", "|") for row in ROWS for shown in code(row[0])]
OPTIONS = " -path backend/migrations/postgres -database $DATABASE_URL "
"""Options of golang-migrate, which the page writes as three dots."""


def is_shown(command: str) -> bool:
    """Return whether the page has the command. It may continue a command of several lines, and leaves out the comment of a statement."""
    wanted = command.partition(" -- ")[0].replace(OPTIONS, " ... ")
    begun = re.sub(r" [\\(]$|,$", "", wanted)
    return begun in SHOWN if begun == wanted else any(begun in shown for shown in SHOWN)


@pytest.mark.parametrize("command", COMMANDS)
def test_guide__each_command_is_in_the_table(command: str) -> None:
    assert is_shown(command)


def test_guide__each_command_has_an_equivalent_or_a_reason() -> None:
    assert len(COMMANDS) > 35
    assert [row for row in ROWS if len(row) != 2 or not row[1]] == []


def test_guide__a_command_that_the_page_lacks_is_found() -> None:
    assert not is_shown("migrate ... up 3")
    assert not is_shown("curl -X DELETE \\")
