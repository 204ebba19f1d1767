"""Fixtures for the tests of the platform."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from findme.embedded.account import UNPRIVILEGED


@pytest.fixture(params=["root", "an ordinary user"])
def user(request: pytest.FixtureRequest, open_folder: Path) -> str:
    """The account that runs the commands and owns ``open_folder``: root and another one, or only the account that runs the tests."""
    if os.geteuid() != 0:
        if request.param == "root":
            pytest.skip("only root can try what root does")
        return ""
    if request.param == "root":
        return "root"
    shutil.chown(open_folder, UNPRIVILEGED[0])
    return UNPRIVILEGED[0]
