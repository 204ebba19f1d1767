"""Fixtures of all tests: a folder for a server of a test's own. A test that copies, stops or configures a server has its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from findme.embedded import paths
from findme.embedded.server import stop
from tests.findme.embedded import Stage
from tests.support.memory import roomy_folder


@pytest.fixture
def open_folder(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that every account can enter, unlike pytest's ``tmp_path``. Every account can run the programs. Servers in it are stopped."""
    monkeypatch.setattr(paths, "installed_binaries", lambda: stage.binaries)
    folder = Path(tempfile.mkdtemp(prefix="findme-test-", dir=roomy_folder()))
    folder.chmod(0o755)
    yield folder
    for lock in folder.rglob("lock"):
        stop(lock.parent)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    folder = Path(tempfile.mkdtemp(prefix="findme-test-programs-", dir=roomy_folder()))
    folder.chmod(0o755)
    yield Stage(folder)
    shutil.rmtree(folder)
