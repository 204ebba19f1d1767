"""The commands of docs/privacy.md that purge the files of PostgreSQL's tables."""

from __future__ import annotations

from pathlib import Path

from findme.environment import BASE_DIR

OF_AN_EMPTY_TABLE = "DELETE FROM pg_statistic WHERE starelid = 'users'::regclass"


def documented() -> list[str]:
    """Return the documented commands in their order."""
    section = (BASE_DIR / "docs" / "privacy.md").read_text().split("### Purging PostgreSQL's files", 1)[1].split("\n### ", 1)[0]
    assert f"`{OF_AN_EMPTY_TABLE}`" in section
    return [line.strip() for line in section.splitlines() if line.startswith("    ")]


def contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
