"""Every relative link and anchor in the pages exists, and every page that code or a message names."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from findme.environment import BASE_DIR

TRACKED = subprocess.run(["git", "ls-files", "-z"], cwd=BASE_DIR, capture_output=True, check=True, text=True).stdout.split("\0")
PAGES = [name for name in TRACKED if name.endswith(".md") and (BASE_DIR / name).is_file()]
OTHERS = [name for name in TRACKED if Path(name).suffix in {".py", ".html", ".toml", ".yaml", ".yml", ".example", ".sql"}]
BLOCK = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s]+)\)")
MENTION = re.compile(r"\bdocs/[\w/-]+\.md(?:#[\w-]+)?")
ENTRANCES = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md"}


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", BLOCK.sub("", path.read_text(encoding="utf-8")), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found.append(slug if slug not in found else f"{slug}-{sum(one == slug for one in found)}")
    return frozenset(found)


def links(name: str) -> list[str]:
    text = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", (BASE_DIR / name).read_text(encoding="utf-8")))
    return [link for link in LINK.findall(text) if not re.match(r"[a-z]+:", link)]


def target(name: str, link: str) -> Path:
    file = link.partition("#")[0]
    return (BASE_DIR / name).parent.joinpath(file).resolve() if file else BASE_DIR / name


def is_broken(path: Path, link: str) -> bool:
    anchor = link.partition("#")[2]
    return not path.exists() or (bool(anchor) and anchor not in anchors(path))


@pytest.mark.parametrize("name", PAGES)
def test_page__its_links_exist(name: str) -> None:
    assert [link for link in links(name) if is_broken(target(name, link), link)] == []


def test_code__pages_that_it_names_exist() -> None:
    mentions = [(name, link) for name in OTHERS for link in MENTION.findall((BASE_DIR / name).read_text(encoding="utf-8"))]

    assert len(mentions) > 5
    assert [(name, link) for name, link in mentions if is_broken(target("README.md", link), link)] == []


def test_page__is_linked_to_by_another_one() -> None:
    linked = {target(name, link) for name in PAGES for link in links(name) if target(name, link) != BASE_DIR / name}

    assert [name for name in PAGES if name not in ENTRANCES and BASE_DIR / name not in linked] == []


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("Trusted folders", "trusted-folders"),
        ("`init_qdrant --adopt`", "init_qdrant---adopt"),
        ("What [is](a.md) left?", "what-is-left"),
    ],
)
def test_anchors__are_those_of_github(tmp_path: Path, heading: str, anchor: str) -> None:
    (tmp_path / "page.md").write_text(f"# {heading}\n\n```console\n# a comment\n```\n", encoding="utf-8")

    assert anchors(tmp_path / "page.md") == {anchor}
