"""The drill of docs/backups.md, word by word: only the backups, the keys, the ledger and the settings are left."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from tests.backups.conftest import place as place
from tests.backups.making import key_pair
from tests.backups.restore.conftest import restore_journal as restore_journal
from tests.backups.restore.conftest import served as served
from tests.backups.restore.world import is_restored, make_world
from tests.docs.pages import blocks, page, sections
from tests.support.commands import manage
from tests.support.database import Database

DRILL = sections(page("backups.md"))["At three in the morning"]
COMMANDS = [
    line.strip().removeprefix("$ python manage.py ")
    for block in blocks(re.sub(r"^   ", "", DRILL, flags=re.MULTILINE), "console")
    for line in block.splitlines()
    if line.strip().startswith("$ ")
]


def test_drill__its_commands() -> None:
    assert [line.split()[0] for line in COMMANDS] == ["list_backups", "restore", "restore", "confirm_staff", "verify_qdrant", "backup"]


@pytest.mark.long
@pytest.mark.at_length
def test_drill(embedded_qdrant: Path, served: Database, place: Path, restore_journal: Path, tmp_path: Path) -> None:
    recipient = key_pair(tmp_path / "key")
    world = make_world(place, recipients=[recipient])
    connection.close()
    Database("postgres").execute(f"DROP DATABASE {served.name} WITH (FORCE)")
    shutil.rmtree(settings.QDRANT_PATH)
    public = re.search(r"public key: (\S+)", (tmp_path / "key").read_text())
    values = {
        "DEST": str(place),
        "DEST/NAME": f"{place}/{world.backup.name}",
        "KEY": str(tmp_path / "key"),
        "AGE": public[1] if public else "",
    }
    for line in COMMANDS:
        code, out, err = manage(*(values.get(word, word) for word in shlex.split(line)))
        assert code == 0, out + err
    assert is_restored(world)
