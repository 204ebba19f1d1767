"""Trusted folders: their owner, and the accounts that can write in them and in their parents."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from findme.core.folders import distrust_reason, distrusted_file, make_private_folder

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of two accounts")
OTHER = 65534


@pytest.mark.parametrize("mask", [0, 0o027, 0o077])
def test_make_private_folder__only_its_owner_enters(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        make_private_folder(tmp_path / "above" / "folder")
        make_private_folder(tmp_path / "above" / "folder")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "above" / "folder").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "above").stat().st_mode) == 0o755 & ~mask


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o500])
def test_distrust_reason__own_folder_that_no_other_account_writes(mode: int, tmp_path: Path) -> None:
    tmp_path.chmod(mode)
    assert distrust_reason(tmp_path) is None
    assert distrust_reason(tmp_path / "missing" / "folder") is None


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777])
def test_distrust_reason__writable_by_others(mode: int, tmp_path: Path) -> None:
    tmp_path.chmod(mode)
    assert distrust_reason(tmp_path) == f"which is writable by other accounts (mode {mode:04o})"


def test_distrust_reason__target_of_a_link_is_checked(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    assert distrust_reason(tmp_path / "link") is None
    (tmp_path / "folder").chmod(0o777)
    assert distrust_reason(tmp_path / "link") == "which is writable by other accounts (mode 0777)"


def test_distrust_reason__parent_writable_by_all(tmp_path: Path) -> None:
    above = tmp_path / "above"
    make_private_folder(above / "folder")
    above.chmod(0o757)
    assert distrust_reason(above / "folder") == (
        f"and its parent {str(above)!r} is writable by other accounts (mode 0757; type: chmod o-w {above})"
    )
    above.chmod(0o1777)
    assert distrust_reason(above / "folder") is None


def test_distrust_reason__of_another_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(tmp_path, OTHER, OTHER)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 3_999_999)
    assert (distrust_reason(tmp_path) or "").startswith("which belongs to ")


@as_root
def test_distrust_reason__account_without_a_name(tmp_path: Path) -> None:
    os.chown(tmp_path, 3_999_999, OTHER)
    assert distrust_reason(tmp_path) == "which belongs to user id 3999999"


def test_distrusted_file__own_files_become_private(tmp_path: Path) -> None:
    for path in (tmp_path / "named", tmp_path / "collection" / "a" / "points", tmp_path / "other"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o644)
    assert distrusted_file(tmp_path, ("named", "collection", "missing")) is None
    modes = {str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"named": 0o600, "collection": 0o700, "collection/a": 0o700, "collection/a/points": 0o600, "other": 0o644}


@pytest.mark.parametrize("name", ["file", "folder"])
def test_distrusted_file__link(name: str, tmp_path: Path) -> None:
    (tmp_path / "collection").mkdir()
    (tmp_path / "collection" / name).symlink_to(tmp_path)
    assert distrusted_file(tmp_path, ("collection",)) == f"and {str(tmp_path / 'collection' / name)!r} is a link"


def test_distrusted_file__writable_by_others_who_can_enter(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o666)
    tmp_path.chmod(0o755)
    assert distrusted_file(tmp_path, ("file",)) == f"and {str(path)!r} is writable by other accounts (mode 0666)"
    tmp_path.chmod(0o700)
    assert distrusted_file(tmp_path, ("file",)) is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@as_root
def test_distrusted_file__of_another_account(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    os.chown(path, OTHER, OTHER)
    assert (distrusted_file(tmp_path, ("file",)) or "").startswith(f"and {str(path)!r} belongs to ")
