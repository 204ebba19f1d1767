"""The page of the Python API: its names exist, its signatures equal those of the code, and its examples run."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from findme.core.errors import UserFacingError
from tests.docs.pages import blocks, page, rows, sections
from tests.factories import ProfileEmbeddingFactory, UserFactory
from vectorstore.schema.initialize import initialize
from vectorstore.sync.worker import sync_once

PAGE = page("reference/python-api.md")
ENTRIES = {name: body for part in sections(PAGE).values() for name, body in sections(part, 3).items()}
ERRORS = {row[0].strip("`"): row[1] for row in rows(sections(PAGE)["Errors"])}


def named(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def signature(path: str) -> str:
    """Return the signature as the page writes it: annotations without quotes, functions by name."""
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", f"{path.rpartition('.')[2]}{inspect.signature(named(path))}")
    return re.sub(r"<function (\w+) at 0x\w+>", r"\1", text).removesuffix(" -> None")


@pytest.mark.parametrize("path", sorted(ENTRIES))
def test_api__the_signature_is_that_of_the_code(path: str) -> None:
    [shown] = blocks(ENTRIES[path], "text")
    assert " ".join(shown.split()) == signature(path)


@pytest.mark.parametrize("path", sorted(ERRORS))
def test_api__errors_are_user_facing(path: str) -> None:
    assert issubclass(named(path), UserFacingError)


def test_api__every_error_of_the_library_is_listed() -> None:
    errors = importlib.import_module("findme.core.errors")
    classes = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, UserFacingError)}
    assert classes == {path.rpartition(".")[2] for path in ERRORS if path.startswith("findme.core.errors.")}


@pytest.mark.django_db(transaction=True)
def test_api__the_examples_run_one_after_the_other(embedded_qdrant: Path, tmp_path: Path) -> None:
    anne, ben = (ProfileEmbeddingFactory.create(user=UserFactory.create(verified=True, active=True)).user for _ in range(2))
    initialize()
    sync_once()
    examples = blocks(PAGE, "python")
    names: dict[str, object] = {"anne": anne, "ben": ben, "folder": tmp_path, "profiles": tmp_path / "profiles.jsonl"}
    for example in examples:
        exec(compile(example, "python-api.md", "exec"), names)  # an example of the page
    assert len(examples) > 12
