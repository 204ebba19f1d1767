"""Images of the documentation are small, and each is shown on a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from findme.environment import BASE_DIR
from tests.docs.pages import DOCS

IMAGES = sorted((DOCS / "images").iterdir())
PICTURES = [path for path in IMAGES if path.suffix != ".svg"]
MAX_BYTES = 200_000
SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_picture__is_a_small_png(path: Path) -> None:
    content = path.read_bytes()

    assert content.startswith(SIGNATURE) and len(content) < MAX_BYTES


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
def test_image__is_shown_by_a_page(path: Path) -> None:
    pages = [BASE_DIR / "README.md", *DOCS.rglob("*.md")]

    assert any(f"images/{path.name})" in page.read_text(encoding="utf-8") for page in pages)
