"""Recipients and identity files: each error is one line without a secret key."""

from __future__ import annotations

import os
from pathlib import Path

import pyrage
import pytest

from backups.streams.keys import LARGEST_FILE, parse_recipient, read_identities
from findme.core.errors import UserFacingError

KEY = pyrage.x25519.Identity.generate()
SECRET, PUBLIC = str(KEY), str(KEY.to_public())


def identity_file(tmp_path: Path, content: bytes | str, mode: int = 0o600) -> Path:
    path = tmp_path / "key.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def refused(path: Path) -> str:
    with pytest.raises(UserFacingError) as raised:
        read_identities(path)
    error: BaseException | None = raised.value
    while error is not None:  # a log can have the causes too
        assert SECRET[20:] not in str(error)
        error = error.__cause__
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_parse_recipient() -> None:
    assert parse_recipient(f" {PUBLIC}\n").text == PUBLIC


@pytest.mark.parametrize(
    "text", [PUBLIC[:-1], f"{PUBLIC}x", PUBLIC[:-1] + ("q" if PUBLIC[-1] != "q" else "p"), "age1"], ids=["short", "long", "changed", "age1"]
)
def test_parse_recipient__misspelled__is_named(text: str) -> None:
    with pytest.raises(UserFacingError) as raised:
        parse_recipient(text)
    assert str(raised.value) == (
        f"{text!r} is not the public key of an age identity: nothing was changed. Name one (age1...), as age-keygen shows it."
    )


@pytest.mark.parametrize(
    "text",
    [SECRET, SECRET.lower(), f"x {SECRET}", SECRET.partition("-1")[2], "", "/etc/hosts", "ssh-ed25519 AAAA"],
    ids=["secret", "small", "inside", "a part", "empty", "path", "ssh"],
)
def test_parse_recipient__anything_else__is_not_shown(text: str) -> None:
    with pytest.raises(UserFacingError) as raised:
        parse_recipient(text)
    assert "nothing was changed" in str(raised.value)
    assert not text or text not in str(raised.value)


def test_read_identities__as_age_keygen_writes_them(tmp_path: Path) -> None:
    other = pyrage.x25519.Identity.generate()
    content = f"# created: 2026-12-01T03:04:05Z\r\n# public key: {PUBLIC}\r\n{SECRET}\r\n\n  {other}  "
    found = read_identities(identity_file(tmp_path, content))
    assert [str(identity.key) for identity in found] == [SECRET, str(other)]
    assert SECRET[20:] not in f"{found} {found[0]} {found!r}"


@pytest.mark.parametrize(
    "line", [SECRET[:-1], f"{SECRET} x", PUBLIC, "ssh-ed25519 AAAA", "\udcff"], ids=["short", "long", "public", "ssh", "no text"]
)
def test_read_identities__another_line__is_named_by_its_number(line: str, tmp_path: Path) -> None:
    path = identity_file(tmp_path, f"{SECRET}\n# comment\n{line}\n".encode(errors="surrogateescape"))
    assert refused(path) == (
        f"Line 3 of the identity file {str(path)!r} is no secret key of age (AGE-SECRET-KEY-1...). Name a file of age-keygen."
    )


@pytest.mark.parametrize("content", ["", "# comment\n\n"])
def test_read_identities__no_key(content: str, tmp_path: Path) -> None:
    assert "has no key" in refused(identity_file(tmp_path, content))


def test_read_identities__an_encrypted_file(tmp_path: Path) -> None:
    for content in (pyrage.passphrase.encrypt(SECRET.encode(), "password"), b"-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n"):
        assert "is encrypted itself" in refused(identity_file(tmp_path, content))


def test_read_identities__a_large_file(tmp_path: Path) -> None:
    assert "is larger than 1,048,576 bytes" in refused(identity_file(tmp_path, b"#" * (LARGEST_FILE + 1)))


def test_read_identities__no_such_file(tmp_path: Path) -> None:
    path = tmp_path / "key.txt"
    assert refused(path) == f"The identity file {str(path)!r} cannot be read (No such file or directory). Name another one with --identity."
    assert "(Is a directory)" in refused(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o610, 0o620])
def test_read_identities__other_accounts_can_use_the_file(mode: int, tmp_path: Path) -> None:
    path = identity_file(tmp_path, SECRET, mode)
    assert refused(path) == f"Other accounts can read the identity file {str(path)!r}. Run chmod 600 {path}."


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of two accounts")
def test_read_identities__the_file_of_another_account(tmp_path: Path) -> None:
    """A container has its secrets so."""
    path = identity_file(tmp_path, SECRET, 0o644)
    os.chown(path, 65534, 65534)
    assert len(read_identities(path)) == 1


def test_read_identities__from_a_pipe() -> None:
    reading, writing = os.pipe()
    os.write(writing, SECRET.encode())
    os.close(writing)
    try:
        assert len(read_identities(Path(f"/dev/fd/{reading}"))) == 1
    finally:
        os.close(reading)
