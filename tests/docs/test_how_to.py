"""How-to pages of the vector store: commands and options exist, and the code contains the output and messages."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import blocks, page, rows, sections
from tests.docs.source import is_printed, unknown_pieces
from tests.support.commands import parser_of

VECTOR_STORE = (
    "connect-to-qdrant",
    "create-the-collection",
    "load-embeddings",
    "import-embeddings",
    "run-the-workers",
    "search-profiles",
    "verify-and-repair",
    "rebuild-without-downtime",
    "adopt-a-collection",
    "protect-unique-vectors",
    "use-snapshots",
    "purge-erased-points",
    "plan-capacity",
    "troubleshooting",
)
NAMES = ["concepts.md", *(f"how-to/{name}.md" for name in VECTOR_STORE)]
TEXT = "\n".join(page(name) for name in NAMES)
SYNOPSES = [line for block in blocks(TEXT, "text") for line in re.split(r"\n(?=manage\.py)", block) if line.startswith("manage.py ")]
SHOWN = [line.strip() for block in blocks(TEXT, "console") for line in block.splitlines()]
COMPOSED = re.compile(
    r"Nothing to do\.|Would be dropped: .*|\d snapshot created\.|.*: \d (would be changed|to change)\.|\d stale payload: .*"
)
"""Lines that the code composes from short texts."""
OUTPUT = sorted({line for line in SHOWN if not line.startswith(("$", "|", "...")) and not COMPOSED.fullmatch(line)})
TABLES = page("how-to/troubleshooting.md") + sections(page("how-to/migrate.md"))["Troubleshooting"]
MESSAGES = [row[0] for row in rows(TABLES) if row[0].startswith("`") and not row[0].startswith("`remaining`")]
"""The first cells of the troubleshooting tables that begin with a message of FindMe."""


def test_pages__show_options_output_and_messages() -> None:
    assert (len(SYNOPSES) > 10, len(OUTPUT) > 15, len(MESSAGES) > 40) == (True, True, True)


@pytest.mark.parametrize("synopsis", SYNOPSES)
def test_synopsis__options_exist(synopsis: str) -> None:
    command, action = re.findall(r"^manage\.py (\w+) ?(\w*)", synopsis)[0]
    parser = parser_of(command)
    known = parser.format_help()
    for sub in parser._subparsers._group_actions if parser._subparsers else []:
        known = sub.choices[action].format_help()  # type: ignore[index]

    assert [option for option in re.findall(r"--[a-z-]+", synopsis) if option not in known] == []


@pytest.mark.parametrize("line", OUTPUT)
def test_output__is_in_the_code(line: str) -> None:
    assert is_printed(line)


@pytest.mark.parametrize("message", MESSAGES)
def test_message__is_in_the_code(message: str) -> None:
    assert unknown_pieces(re.findall(r"`([^`]*)`", message)[0].replace("was not applied", "was not …")) == []
