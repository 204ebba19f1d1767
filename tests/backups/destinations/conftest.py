"""Places for backups, each a new one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.privacy.ledger.s3 import s3_bucket


@pytest.fixture
def s3_url() -> Iterator[str]:
    with s3_bucket() as url:
        yield f"{url}/backups"


@pytest.fixture(params=["folder", "folder without unnamed files", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a new place."""
    if request.param == "s3":
        return str(request.getfixturevalue("s3_url"))
    if request.param == "memory":
        return f"memory://{tmp_path.name}-{tmp_path.parent.name}/backups"
    if request.param != "folder":
        request.getfixturevalue("no_unnamed_files")
    return str(tmp_path)


@pytest.fixture
def no_unnamed_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.O_TMPFILE")
