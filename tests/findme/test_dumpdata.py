"""The file that ``dumpdata --output`` writes: for its owner only, and never through a link."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tests.factories import UserFactory
from tests.findme.processes import manage_here

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("ending", ["json", "json.gz"])
@pytest.mark.parametrize("exists", [False, True])
def test_dumpdata__file_is_its_owners_alone(exists: bool, ending: str, tmp_path: Path) -> None:
    path, before = tmp_path / f"all.{ending}", os.umask(0)
    UserFactory.create()
    try:
        if exists:
            path.touch(mode=0o644)
        call_command("dumpdata", "accounts", output=str(path), verbosity=0)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_size > 100


@pytest.mark.parametrize("dangling", [False, True])
def test_dumpdata__link_is_not_followed(dangling: bool, tmp_path: Path) -> None:
    path, victim = tmp_path / "all.json", tmp_path / "victim"
    path.symlink_to(victim)
    if not dangling:
        victim.touch()
    code, out, err = manage_here("dumpdata", "accounts", "--output", path, "--verbosity", "0")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"{str(path)!r} is not an ordinary file" in err
    assert not victim.exists() if dangling else victim.stat().st_size == 0


def test_dumpdata__refused__leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    path.write_text("old")
    with pytest.raises(CommandError):
        call_command("dumpdata", "no_such_app", output=str(path), verbosity=0)
    assert path.read_text() == "old"
