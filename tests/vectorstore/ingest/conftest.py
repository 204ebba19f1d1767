"""Fixtures for tests of the readers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vectorstore.ingest.inputs import frames_in_process
from vectorstore.ingest.formats.parquet import process


@pytest.fixture(scope="module")
def decoder_in_process() -> Iterator[None]:
    """Decode Parquet in this process, without starting another one for each file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "frames_of", frames_in_process)
        yield
