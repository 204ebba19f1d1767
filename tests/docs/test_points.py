"""The pages list exactly the payload fields, indexes, metadata, states and kinds of rejected rows of the code."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from uuid import UUID

from findme.environment import BASE_DIR
from tests.docs.pages import code, page, rows, sections
from vectorstore.catalog.ownership import EARLIER_KEYS
from vectorstore.ingest.rows import Kind
from vectorstore.models import VectorCollection
from vectorstore.projection.payload import Profile, payload_from
from vectorstore.schema.definition import DEFINITION

POINTS = sections(page("reference/points.md"))
DAY = date(2026, 1, 1)
PROFILE = Profile(
    UUID(int=1), date(2000, 1, 1), "female", True, True, datetime(2025, 1, 1, tzinfo=UTC), {"lat": 1.0, "lon": 2.0}, ["sea"], [0.5]
)


def first_cells(text: str) -> list[str]:
    return [name for row in rows(text) for name in code(row[0])]


def test_payload__every_field_is_named() -> None:
    assert set(first_cells(POINTS["Points: eligibility and payload"])) == {*payload_from(PROFILE, DAY), "version"}


def test_payload__null_is_left_out() -> None:
    absent = payload_from(PROFILE, DAY).keys() - payload_from(replace(PROFILE, location=None, video_features=None), DAY).keys()

    assert absent == {"location", "video_features"}


def test_definition__every_payload_index_is_named() -> None:
    [indexes] = [row[1] for row in rows(POINTS["Definition"]) if row[0] == "payload indexes"]

    assert set(code(indexes)) == set(DEFINITION.payload_indexes)


def test_metadata__every_key_is_named() -> None:
    written = {
        key for path in (BASE_DIR / "vectorstore").rglob("*.py") for key in re.findall(r'"(findme_\w+)"', path.read_text(encoding="utf-8"))
    }

    assert set(first_cells(POINTS["Metadata of a collection"])) == written - set(EARLIER_KEYS)


def test_states__each_is_named() -> None:
    states = first_cells(sections(page("concepts.md"))["Collections and the alias"])

    assert states == list(VectorCollection.State.values)


def test_rejected_rows__every_kind_is_named() -> None:
    loading = first_cells(sections(page("how-to/load-embeddings.md"))["Rejected rows"].partition("###")[0])
    importing = first_cells(sections(page("how-to/import-embeddings.md"))["Rejected points"])

    assert {*loading, *importing} == {kind.value for kind in Kind}
