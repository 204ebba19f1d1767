"""Find words that a reader must look up, and names that were renamed. Exit with 1 if there are findings.

    python -m tests.language

The program searches for words in docstrings, comments, strings, names and documents, and for old names in all text.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TEXTS = {".py", ".md", ".sql", ".html", ".txt", ".toml", ".yaml", ".yml", ".json", ".js", ".css", ".service", ".timer", ".example", ""}
UNREAD = ("fixtures/", "tests/language/", "requirements", "LICENSE")
"""Paths that are not searched: data, the lists themselves, and texts of other projects."""

READ = {"NAME", "COMMENT", "STRING", "FSTRING_MIDDLE"}
"""Tokens of Python that are searched. The last one exists since Python 3.12."""


class Word(NamedTuple):
    pattern: re.Pattern[str]
    instead: str


class Finding(NamedTuple):
    path: str
    line: int
    text: str
    word: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.word!r}: {self.instead}"


@dataclass(frozen=True)
class Rules:
    words: list[Word]
    old_names: list[Word]
    exceptions: list[tuple[str, str]]
    """Path and a part of the line of each exception."""

    @cached_property
    def any_word(self) -> re.Pattern[str]:
        return re.compile("|".join(word.pattern.pattern for word in self.words) or "(?!)", re.IGNORECASE)


def read_rules(folder: Path = HERE) -> Rules:
    return Rules(
        [Word(_whole(word), instead) for word, instead in _rows(folder / "words.txt")],
        [Word(re.compile(rf"\b{re.escape(name)}\b"), instead) for name, instead in _rows(folder / "old_names.txt")],
        [(path, part) for path, part, _reason in _rows(folder / "exceptions.txt")],
    )


def _whole(words: str) -> re.Pattern[str]:
    """Return a pattern for words that can be on two lines. An underscore ends a word."""
    return re.compile(rf"(?<![^\W_])(?:{words})(?![^\W_])".replace(" ", r"\s+"), re.IGNORECASE)


def findings(path: str, text: str, rules: Rules) -> Iterator[Finding]:
    """Yield the findings in the file ``path`` with the content ``text``. Exceptions are not considered."""
    lines = text.splitlines()
    for number, piece in _pieces(path, text) if rules.any_word.search(text.replace("_", " ")) else ():
        for found in rules.any_word.finditer(piece):
            line = number + piece.count("\n", 0, found.start())
            instead = next(word.instead for word in rules.words if word.pattern.fullmatch(found[0]))
            yield Finding(path, line, lines[line - 1], " ".join(found[0].split()), instead)
    used = [name for name in rules.old_names if name.pattern.search(text)]
    for number, line_text in enumerate(lines, 1):
        for name in used:
            if old := name.pattern.search(line_text):
                yield Finding(path, number, line_text, old[0], name.instead)


def without_exceptions(found: list[Finding], rules: Rules) -> tuple[list[Finding], list[tuple[str, str]]]:
    """Return the findings that no exception covers, and the exceptions that cover no finding."""
    left, used = [], set()
    for finding in found:
        covering = [(path, part) for path, part in rules.exceptions if path == finding.path and part in finding.text]
        used.update(covering)
        if not covering:
            left.append(finding)
    return left, [exception for exception in rules.exceptions if exception not in used]


def _rows(path: Path) -> Iterator[list[str]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield [part.strip() for part in _split(line, path)]


def _split(line: str, path: Path) -> list[str]:
    """Split at the last bar. Split an exception, which has three parts, at the first and the last bar.

    Patterns and lines may contain bars.
    """
    if path.name == "exceptions.txt":
        first, rest = line.split("|", 1)
        return [first, *rest.rsplit("|", 1)]
    return line.rsplit("|", 1)


def _pieces(path: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield the texts that a person reads, with the number of the first line. Python names have spaces for underscores."""
    if not path.endswith(".py"):
        yield 1, text
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if tokenize.tok_name[token.type] in READ:
            yield token.start[0], token.string.replace("_", " ")


def _files() -> Iterator[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for path in filter(None, listed.split("\0")):
        if Path(path).suffix in TEXTS and not path.startswith(UNREAD):
            yield path


def main() -> int:
    rules = read_rules()
    found = [finding for path in _files() for finding in findings(path, (ROOT / path).read_text(encoding="utf-8"), rules)]
    left, unused = without_exceptions(found, rules)
    for finding in left:
        sys.stdout.write(f"{finding}\n")
    for path, part in unused:
        sys.stdout.write(f"tests/language/exceptions.txt: nothing in {path} needs the exception for {part!r}\n")
    return 1 if left or unused else 0


if __name__ == "__main__":
    sys.exit(main())
