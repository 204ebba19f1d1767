"""Pictures of the documentation are small, and each is shown by a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from findme.environment import BASE_DIR
from tests.docs.pages import DOCS

PICTURES = sorted((DOCS / "images").iterdir())
MOST_BYTES = 200_000
SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_picture__is_a_small_png_that_a_page_shows(path: Path) -> None:
    content = path.read_bytes()
    pages = [BASE_DIR / "README.md", *DOCS.rglob("*.md")]

    assert content.startswith(SIGNATURE) and len(content) < MOST_BYTES
    assert any(f"images/{path.name})" in page.read_text(encoding="utf-8") for page in pages)
