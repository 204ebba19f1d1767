"""The check of words finds words and old names, and reports an exception that covers no finding."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.language.__main__ import Rules, findings, read_rules, without_exceptions

RULES = read_rules()


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        ("a.py", '"""Returns it to\n\nwhoever asks."""\n', 3),
        ("a.py", "# Nobody's row.\n", 1),
        ("a.py", "raise ValueError(f'{name} is\\n away: ' 'it was set aside')\n", 1),
        ("a.py", "def test_search__nobody_there() -> None: ...\n", 1),
        ("a.md", "The worker\ngoes\non.\n", 2),
        ("a.sql", "-- locked beside the queue\n", 1),
    ],
)
def test_findings__a_word_to_avoid(path: str, text: str, line: int) -> None:
    assert [finding.line for finding in findings(path, text, RULES)] == [line]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.py", "sidebar = inside = 'personal data of one person'\n"),
        ("a.md", "The queue continues; no user is blocked. `clear` empties it.\n"),
    ],
)
def test_findings__plain_words(path: str, text: str) -> None:
    assert list(findings(path, text, RULES)) == []


def rules(folder: Path, *, words: str = "", old_names: str = "", exceptions: str = "") -> Rules:
    for name, text in (("words", words), ("old_names", old_names), ("exceptions", exceptions)):
        (folder / f"{name}.txt").write_text(f"# A list.\n{text}\n")
    return read_rules(folder)


def test_findings__an_old_name_as_a_whole_word(tmp_path: Path) -> None:
    found = findings("a.toml", "old = 1\nolder = 'x.old'\n", rules(tmp_path, old_names="old|new"))
    assert [str(finding) for finding in found] == ["a.toml:1: 'old': new", "a.toml:2: 'old': new"]


def test_exceptions__cover_their_line_only_and_must_be_needed(tmp_path: Path) -> None:
    made = rules(
        tmp_path,
        words="(?:this|that)|those",
        exceptions="a.md|quoted: this|a quotation\nb.md|quoted|another file\na.md|gone | here|no longer there",
    )
    found = list(findings("a.md", "quoted: this\nand this\n", made))
    left, unused = without_exceptions(found, made)
    assert [finding.line for finding in left] == [2]
    assert unused == [("b.md", "quoted"), ("a.md", "gone | here")]
