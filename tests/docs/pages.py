"""Read the pages of ``docs/``: sections, tables and blocks of code."""

from __future__ import annotations

import re
from pathlib import Path

from findme.environment import BASE_DIR

DOCS = BASE_DIR / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def sections(text: str, level: int = 2) -> dict[str, str]:
    """Return the text below each heading of the level, by the heading without backticks."""
    parts = re.split(rf"^{'#' * level} (.+)$", text, flags=re.MULTILINE)
    return {heading.replace("`", ""): body for heading, body in zip(parts[1::2], parts[2::2], strict=True)}


def rows(text: str) -> list[list[str]]:
    """Return the cells of the rows of all tables, without the header rows."""
    found = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in found]
    rules = {index for index, line in enumerate(text.splitlines()) if line.startswith("|---")}
    lines = [index for index, line in enumerate(text.splitlines()) if line.startswith("| ")]
    return [row for index, row in zip(lines, cells, strict=True) if index + 1 not in rules]


def code(text: str) -> list[str]:
    """Return the texts between backticks, outside of blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def blocks(text: str, language: str) -> list[str]:
    """Return the blocks of code in this language, without the indentation of those in lists."""
    found = re.finditer(rf"^( *)```{language}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{block[1]}", "", block[2], flags=re.MULTILINE) for block in found]


def typed(path: Path) -> list[str]:
    """Return the commands in the blocks ``console`` and ``bash`` of a page."""
    text = path.read_text(encoding="utf-8")
    console = [line.removeprefix("$ ") for block in blocks(text, "console") for line in block.splitlines() if line.startswith("$ ")]
    return console + [line.split("  #")[0].strip() for block in blocks(text, "bash") for line in block.splitlines() if line.strip()]
