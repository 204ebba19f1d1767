"""The output file of ``dumpdata --output``: only its owner can read it, and links are not followed."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from tests.factories import UserFactory
from tests.support.commands import manage_here
from tests.support.processes import PRODUCTION, start

pytestmark = pytest.mark.django_db

KILLED = """
import os, signal
import django; django.setup()
from django.core import serializers
from django.core.management import call_command

def serialize(_format, _rows, *, stream, **_options):
    stream.write("a part of it" * 10_000)
    stream.flush()
    os.kill(os.getpid(), signal.SIGKILL)

serializers.serialize = serialize
call_command("dumpdata", "accounts", output={path!r}, verbosity=0)
"""


@pytest.mark.parametrize("ending", ["json", "json.gz"])
@pytest.mark.parametrize("exists", [False, True])
def test_dumpdata__only_the_owner_can_read_the_file(exists: bool, ending: str, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("ending", ["json", "json.gz", "json.bz2", "json.xz", "json.lzma"])
def test_dumpdata__can_be_loaded_again(ending: str, tmp_path: Path) -> None:
    person, path = UserFactory.create(), tmp_path / f"all.{ending}"
    path.write_text("old")
    call_command("dumpdata", "accounts", output=str(path), verbosity=0)
    assert list(tmp_path.iterdir()) == [path]
    call_command("loaddata", str(path), verbosity=0)
    User.objects.filter(pk=person.pk).update(full_name="Changed")
    call_command("loaddata", str(path), verbosity=0)
    assert User.objects.get(pk=person.pk).full_name == person.full_name


@pytest.mark.at_length(every=9)
@pytest.mark.parametrize("ending", ["json", "json.gz"])
@pytest.mark.parametrize("exists", [False, True])
def test_dumpdata__killed__leaves_nothing_or_the_old_file(exists: bool, ending: str, tmp_path: Path) -> None:
    """A part of a compressed file can look complete: gzip can read it, although json cannot."""
    path = tmp_path / f"all.{ending}"
    if exists:
        path.write_text("old")
    with start("-c", KILLED.format(path=str(path)), DJANGO_SETTINGS_MODULE="findme.settings", **PRODUCTION) as process:
        _out, err = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, err
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == ([(path.name, "old")] if exists else [])


@pytest.mark.parametrize("dangling", [False, True])
def test_dumpdata__zip_is_rejected(dangling: bool, tmp_path: Path) -> None:
    """Django would write to the name without the suffix, and would follow a link there."""
    (tmp_path / "all").symlink_to(tmp_path / "victim")
    if not dangling:
        (tmp_path / "victim").write_text("old")
    code, out, err = manage_here("dumpdata", "accounts", "--output", tmp_path / "all.zip", "--verbosity", "0")
    assert (code, out) == (2, "")
    assert (
        err
        == f"'{tmp_path}/all.zip' is a zip file, which dumpdata cannot write: nothing was written. Name a file that ends in .json, .gz, .bz2, .xz or .lzma.\n"
    )
    assert not (tmp_path / "victim").exists() or (tmp_path / "victim").read_text() == "old"


def test_dumpdata__rejected__keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    path.write_text("old")
    with pytest.raises(CommandError):
        call_command("dumpdata", "no_such_app", output=str(path), verbosity=0)
    assert path.read_text() == "old"
