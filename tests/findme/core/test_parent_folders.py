"""Folders that another account could replace: it owns or can write a parent, or controls a link."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from findme.core import parent_folders
from findme.core.errors import StoreUnusable, UserFacingError
from findme.core.folders import distrust_reason
from findme.embedded.paths import require_trusted
from findme.environment import BASE_DIR
from vectorstore.qdrant.embedded import folder_at

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make folders of two accounts")
MALLORY = 3_999_999
GROUP = 3_999_998
OWN_GROUP = pwd.getpwuid(os.geteuid()).pw_gid


@pytest.fixture
def above(tmp_path: Path) -> Path:
    """The parent of ``above / "q"``, a folder of this account with mode 0700."""
    (tmp_path / "above" / "q").mkdir(parents=True, mode=0o700)
    (tmp_path / "above").chmod(0o755)
    return tmp_path / "above"


@as_root
@pytest.mark.parametrize("mode", [0o755, 0o1777, 0o700])
def test_distrust_reason__parent_of_another_account(mode: int, above: Path) -> None:
    """The owner can rename an entry, even in a sticky folder."""
    above.chmod(mode)
    os.chown(above, MALLORY, MALLORY)
    for folder in (above / "q", above / "missing"):
        assert distrust_reason(folder) == (
            f"and its parent {str(above)!r} belongs to user id {MALLORY}, who can replace it (as root: chown root {above})"
        )


@as_root
def test_distrust_reason__parent_far_above_of_another_account(above: Path) -> None:
    (above / "q" / "one" / "two").mkdir(parents=True)
    os.chown(above, MALLORY, MALLORY)
    assert f"its parent {str(above)!r} belongs to" in (distrust_reason(above / "q" / "one" / "two") or "")


@as_root
@pytest.mark.parametrize(("mode", "change"), [(0o775, "g-w"), (0o770, "g-w"), (0o777, "go-w"), (0o757, "o-w")])
def test_distrust_reason__parent_that_others_can_write(mode: int, change: str, above: Path) -> None:
    os.chown(above, 0, GROUP)
    above.chmod(mode)
    assert distrust_reason(above / "q") == (
        f"and its parent {str(above)!r} is writable by other accounts (mode {mode:04o}; type: chmod {change} {above})"
    )
    subprocess.run(["chmod", change, above], check=True)
    assert distrust_reason(above / "q") is None


@as_root
def test_distrust_reason__sticky_parent_of_root(above: Path) -> None:
    os.chown(above, 0, GROUP)
    above.chmod(0o1777)
    assert distrust_reason(above / "q") is None


def test_distrust_reason__command_in_the_line_can_be_typed(tmp_path: Path) -> None:
    above = tmp_path / "a blank; $HOME"
    (above / "q").mkdir(parents=True, mode=0o700)
    above.chmod(0o757)
    command = (distrust_reason(above / "q") or "").partition("type: ")[2].removesuffix(")")
    subprocess.run(["sh", "-c", command], check=True)
    assert distrust_reason(above / "q") is None


# --- Groups of one account -----------------------------------------------------------------------------------------------------------


def account(name: str, uid: int, gid: int) -> pwd.struct_passwd:
    return pwd.struct_passwd((name, "x", uid, gid, "", "/", "/bin/sh"))


def lists(monkeypatch: pytest.MonkeyPatch, accounts: list[pwd.struct_passwd], members: list[str]) -> None:
    """Replace the accounts of the machine, and the members of the group ``OWN_GROUP``."""
    monkeypatch.setattr(pwd, "getpwall", lambda: accounts)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: next(one for one in [*accounts, account("bob", 7, 7)] if one.pw_name == name))
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group(("private", "x", gid, members)))


@pytest.mark.parametrize(
    ("others", "members", "trusted"),
    [
        ([], [], True),
        ([], ["me"], True),
        ([], ["bob"], False),
        ([account("bob", MALLORY, OWN_GROUP)], [], False),
    ],
)
def test_distrust_reason__group_of_this_account(
    others: list[pwd.struct_passwd], members: list[str], trusted: bool, above: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists(monkeypatch, [account("me", os.geteuid(), OWN_GROUP), *others], members)
    os.chown(above, -1, OWN_GROUP)
    above.chmod(0o775)
    reason = distrust_reason(above / "q")
    assert reason is None if trusted else f"type: chmod g-w {above})" in str(reason)


def test_distrust_reason__group_that_no_account_is_listed_for(above: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory service can know members that it does not list."""
    lists(monkeypatch, [account("root", 0, OWN_GROUP + 1)], [])
    os.chown(above, -1, OWN_GROUP)
    above.chmod(0o775)
    assert "chmod g-w" in str(distrust_reason(above / "q"))


def test_distrust_reason__access_control_list(above: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an access control list, the group mode is its mask, and the list can name any account."""
    lists(monkeypatch, [account("me", os.geteuid(), OWN_GROUP)], [])
    os.chown(above, -1, OWN_GROUP)
    above.chmod(0o775)
    monkeypatch.setattr(os, "listxattr", lambda path: [parent_folders.ACCESS_LIST] if path == above else [])
    assert "chmod g-w" in str(distrust_reason(above / "q"))


# --- Links ---------------------------------------------------------------------------------------------------------------------------


@as_root
@pytest.mark.parametrize("absolute", [True, False])
def test_distrust_reason__link_in_a_folder_of_another_account(absolute: bool, above: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "link").symlink_to(above if absolute else "../above")
    assert distrust_reason(theirs / "link" / "q") is None
    os.chown(theirs, MALLORY, MALLORY)
    assert f"its parent {str(theirs)!r} belongs to" in (distrust_reason(theirs / "link" / "q") or "")
    assert distrust_reason(above / "q") is None


@as_root
def test_distrust_reason__link_of_another_account_in_a_sticky_folder(above: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "link").symlink_to(above / "q")
    assert distrust_reason(shared / "link") is None
    os.chown(shared / "link", MALLORY, MALLORY, follow_symlinks=False)
    link = str(shared / "link")
    assert distrust_reason(shared / "link") == (
        f"and the link {link!r} on the way belongs to user id {MALLORY}, who can replace it (as root: chown -h root {link})"
    )


def test_distrust_reason__circular_links(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        distrust_reason(tmp_path / "a" / "q")


def test_distrust_reason__two_dots(above: Path) -> None:
    (above / "link").symlink_to("q/..")
    assert distrust_reason(above / "link" / "q" / ".." / "q") is None
    above.chmod(0o757)
    assert f"its parent {str(above)!r} is writable" in str(distrust_reason(above / "q" / ".." / "q"))


# --- Both embedded stores, and the accounts that run them ----------------------------------------------------------------------------


@as_root
def test_stores__parent_of_another_account__is_one_line_and_creates_nothing(above: Path) -> None:
    os.chown(above, MALLORY, MALLORY)
    for folder in (above / "q", above / "new" / "q"):
        with pytest.raises(StoreUnusable) as refused, folder_at(str(folder)).held(5):
            pass
        line = str(refused.value)
        assert line.startswith(f"QDRANT_PATH is {str(folder)!r}, and its parent {str(above)!r} belongs to ") and "\n" not in line
        with pytest.raises(UserFacingError) as not_done:
            require_trusted(folder)
        line = str(not_done.value)
        assert line.startswith(f"EMBEDDED_POSTGRES_DIR is {str(folder)!r}, and its parent {str(above)!r} belongs to ") and "\n" not in line
    assert list(above.iterdir()) == [above / "q"] and list((above / "q").iterdir()) == []


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout of an ordinary account, where only root and that account can write."""
    folder = Path(tempfile.mkdtemp(prefix="findme-test-checkout-"))
    folder.chmod(0o755)
    os.chown(folder, MALLORY, MALLORY)
    monkeypatch.setattr(parent_folders, "CODE_DIR", folder)
    yield folder
    shutil.rmtree(folder)


@as_root
def test_distrust_reason__root_in_the_checkout_of_a_user(checkout: Path, above: Path) -> None:
    """Root already runs the code of this account."""
    (checkout / ".findme" / "qdrant").mkdir(parents=True, mode=0o700)
    assert distrust_reason(checkout / ".findme" / "qdrant") is None
    os.chown(checkout / ".findme", MALLORY, MALLORY)
    assert distrust_reason(checkout / ".findme" / "qdrant") is None
    os.chown(checkout / ".findme" / "qdrant", MALLORY, MALLORY)
    assert distrust_reason(checkout / ".findme" / "qdrant") == f"which belongs to user id {MALLORY}"
    os.chown(above, GROUP, GROUP)
    assert "belongs to" in str(distrust_reason(above / "q"))


AS_USER = """
import os, sys
from pathlib import Path
from findme.core.folders import distrust_reason, make_private_folder
account = int(sys.argv[1])
os.setgroups([])
os.setgid(account)
os.setuid(account)
folder = Path(sys.argv[2])
reasons = [distrust_reason(folder)]
make_private_folder(folder)
print(reasons + [distrust_reason(folder)])
"""


@as_root
def test_distrust_reason__as_an_ordinary_user() -> None:
    with tempfile.TemporaryDirectory(prefix="findme-test-user-") as home:
        os.chown(home, MALLORY, MALLORY)
        run = [sys.executable, "-c", AS_USER, str(MALLORY), f"{home}/.findme/qdrant"]
        reported = subprocess.run(run, capture_output=True, text=True, check=False, cwd=BASE_DIR)
        assert (reported.stdout, reported.stderr) == ("[None, None]\n", "")
        run[3] = str(GROUP)
        reported = subprocess.run(run, capture_output=True, text=True, check=False, cwd=BASE_DIR)
        assert reported.returncode == 1


@as_root
def test_distrust_reason__in_a_container_whose_top_folder_is_not_roots(
    checkout: Path, above: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner of ``/`` can replace everything in any case."""
    folder = above / "mine"
    folder.mkdir(mode=0o700)
    os.chown(above, MALLORY, MALLORY)
    monkeypatch.setattr(parent_folders, "CODE_DIR", above.parent)
    assert distrust_reason(folder) is not None
    monkeypatch.setattr(parent_folders, "TOP", checkout)
    assert distrust_reason(folder) is None


def test_exchange_reason__of_a_process_that_cannot_reach_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process became another account after its start. It works, and does not trust the owner of the code."""

    class Unreachable:
        def stat(self) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(parent_folders, "CODE_DIR", Unreachable())
    assert parent_folders._trusted_accounts() >= {0, os.geteuid()}
    assert parent_folders.exchange_reason(tmp_path) is None
