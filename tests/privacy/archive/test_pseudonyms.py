"""Texts of an export: ids and addresses of other persons become pseudonyms, in whatever form they are written."""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import UUID

import pytest

from findme.core.values.exact_json import RawJSON, loads
from privacy.archive.pseudonyms import Pseudonyms
from privacy.registry import registry

OWN, OTHER = UUID("11111111-2222-4333-8444-555555555555"), UUID("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee")


@pytest.fixture
def pseudonyms() -> Pseudonyms:
    return Pseudonyms(OWN, "own@example.com")


@pytest.mark.parametrize("text", [f"room_{OTHER}", f"u{OTHER}", f"urn:uuid:{OTHER}", OTHER.hex, f"({str(OTHER).upper()})"])
def test_text__with_an_id(text: str, pseudonyms: Pseudonyms) -> None:
    found = pseudonyms.in_text(text)
    assert OTHER.hex not in found.replace("-", "").casefold()
    assert str(pseudonyms.of_person(OTHER)) in found


@pytest.mark.parametrize(
    "text", ["bob@example.org", "mailto:Bob@Example.ORG", "https://x.example/?q=bob%40example.org&a=1", "<bob@example.org>"]
)
def test_text__with_an_address(text: str, pseudonyms: Pseudonyms) -> None:
    found = pseudonyms.in_text(text)
    assert "example.org" not in found.casefold()
    assert re.search(r"address-[a-z2-7]{16}", found)


@pytest.mark.parametrize("text", [str(OWN), OWN.hex, f"Own@Example.com {OWN}", "own%40example.com", "a" * 64, "12@", "@home", "50%40"])
def test_text__of_the_user_alone__stays(text: str, pseudonyms: Pseudonyms) -> None:
    assert pseudonyms.in_text(text) == text


@pytest.mark.parametrize(
    "text",
    ["a" * 1_000_000 + " @", "x@" + "a-" * 500_000 + "!@", "a%" * 500_000 + "%40", "a@" * 500_000, "0f" * 500_000],
    ids=["local part", "host", "percent", "at", "hex"],
)
def test_text__that_is_huge__is_read_once(text: str, pseudonyms: Pseudonyms) -> None:
    """A regular expression that begins again at each letter takes more than an hour for this."""
    assert pseudonyms.in_text(text) == text


def test_document__too_deep_for_a_walk__stays_json(pseudonyms: Pseudonyms) -> None:
    """A letter of an escape, such as the ``n`` of a line break, is no letter of the address after it."""
    text = '{"a":' * 5000 + '"\\nbob@example.org"' + "}" * 5000
    document = loads(text)
    assert isinstance(document, RawJSON)
    videos = next(owner for owner in registry.owners if owner.section == "videos")
    rows: Any = pseudonyms.in_section(videos, [{"id": UUID(int=1), "metadata": document}])
    (metadata,) = (row["metadata"] for row in rows)
    assert isinstance(metadata, RawJSON)
    innermost = json.loads(re.findall(r'"[^"]+"(?=\}+$)', metadata)[0])
    assert re.fullmatch(r"\naddress-[a-z2-7]{16}", innermost)
