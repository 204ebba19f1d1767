"""Our templates use only classes that a style sheet defines, and nothing that the Content-Security-Policy blocks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import unfold

from findme.environment import BASE_DIR

EXPORTED = BASE_DIR / "privacy/templates/privacy/readme.html"
"""A file of an export, which a person opens from the disk. It has its own style, because no policy and no style sheet is there."""
TEMPLATES = sorted({*BASE_DIR.glob("*/templates/**/*.html")} - {EXPORTED})
SHEETS = [Path(unfold.__file__).parent / "static/unfold/css/styles.css", BASE_DIR / "findme/static/findme/admin.css"]
SHEETS += [BASE_DIR / "findme/static/findme/error.css"]  # the only style sheet of the error pages
HOOKS = {"addlink", "colM", "current-app", "disclosure", "errornote", "filter-open-button", "group", "material-symbols-outlined"}
HOOKS |= {"related-lookup", "view-related", "@container"}
"""Names for scripts, and names that group other elements."""


def classes_of(template: str) -> set[str]:
    """Return the classes that a template names, without computed ones."""
    text = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", " ", template)
    return {name for value in re.findall(r'\sclass="([^"]*)"', text) for name in value.split()}


def defined() -> str:
    return "".join(sheet.read_text() for sheet in SHEETS)


def is_defined(name: str, sheets: str) -> bool:
    escaped = re.sub(r"([^a-zA-Z0-9_-])", r"\\\1", name)
    return re.search(rf"\.{re.escape(escaped)}(?![a-zA-Z0-9_-])", sheets) is not None


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_template__every_class_has_a_style(template: Path) -> None:
    sheets = defined()
    assert {name for name in classes_of(template.read_text()) - HOOKS if not is_defined(name, sheets)} == set()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_template__no_inline_style_or_script(template: Path) -> None:
    text = template.read_text()
    assert re.findall(r"\sstyle=|<style|<script(?![^>]*\ssrc=)|\son[a-z]+=", text) == []
