"""CONTRIBUTING.md: every path exists, and every question is answered by a path."""

from __future__ import annotations

import re

import pytest

from findme.environment import BASE_DIR
from tests.docs.pages import code, rows, sections

TEXT = (BASE_DIR / "CONTRIBUTING.md").read_text(encoding="utf-8")
PATH = re.compile(r"\.?[a-z][\w.-]*(?:/[\w.-]+)+/?|[\w.-]+\.(?:py|md|toml|lock)|\.env\.example")
WHERE = sections(TEXT)["Layout"]
OF_THE_BUILD = {"dist/"}
PLACEHOLDERS = {"management/commands/NAME.py", "privacy/actions/NAME.py", "personal_data.py", "/path/to/qdrant"}


def paths(text: str) -> list[str]:
    return [part for part in code(text) if PATH.fullmatch(part) and part not in OF_THE_BUILD | PLACEHOLDERS]


def test_contributing__paths_are_found() -> None:
    assert len(paths(TEXT)) > 40
    assert {"vectorstore/projection/payload.py", "tests/schema/", "pyproject.toml", ".env.example"} <= set(paths(TEXT))


@pytest.mark.parametrize("path", sorted(set(paths(TEXT))))
def test_contributing__every_path_exists(path: str) -> None:
    assert (BASE_DIR / path).exists()


def test_contributing__each_of_ten_questions_has_a_path() -> None:
    questions = rows(WHERE)

    assert len(questions) == 10
    assert [question for question, answer in questions if not (question.endswith("?") and paths(answer))] == []


def test_contributing__names_every_target_of_make() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (BASE_DIR / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)`", TEXT)) == targets - {"help"}


def test_contributing__the_trigger_function_that_it_names_is_in_the_file() -> None:
    [(file, function)] = re.findall(r"`(vectorstore/migrations/sql/\S+\.sql)`: `(\w+)`", WHERE)
    assert f"FUNCTION {function}" in (BASE_DIR / file).read_text(encoding="utf-8")
