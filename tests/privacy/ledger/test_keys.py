"""The files of keys."""

import json
import os
import stat
from pathlib import Path
from uuid import uuid4

import pytest
from pytest_django.fixtures import Settings

from findme.core.errors import UserFacingError
from privacy.ledger.keys import create_keys, parse_keys, rotate_keys, subject_keys
from privacy.ledger.signing import create_signing_key, rotate_signing_key, sign, signing_key, verified, verifying_keys
from tests.support.commands import manage_here


def test_subject_keys__of_the_file(keys_folder: Path) -> None:
    path = keys_folder / "ledger-keys.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    keys, user = subject_keys(), uuid4()
    assert (keys.current, list(keys.keys)) == (1, [1])
    assert len(keys.subject(user)) == 32
    assert keys.subject(user) == keys.subject(user, 1) != keys.subject(uuid4())
    assert user.bytes not in keys.subject(user)


def test_rotate_keys__old_subjects_are_still_found(keys_folder: Path) -> None:
    path, user = keys_folder / "ledger-keys.json", uuid4()
    old = subject_keys()
    rotate_keys(path, old)
    new = subject_keys()
    assert (new.current, sorted(new.keys)) == (2, [1, 2])
    assert new.subject(user) != old.subject(user) == new.subject(user, 1)
    assert new.subjects(user) == [new.subject(user, 1), new.subject(user, 2)]


def test_subject_keys__unknown_number(keys_folder: Path) -> None:
    with pytest.raises(UserFacingError, match=r"^ERASURE_LEDGER_KEYS has no key 3, which the ledger uses: nothing was changed\."):
        subject_keys().subject(uuid4(), 3)


@pytest.mark.parametrize("name", ["ERASURE_LEDGER_KEYS", "PRIVACY_SIGNING_KEY"])
def test_key_file__wrong__is_one_line_that_names_the_setting(keys_folder: Path, settings: Settings, name: str) -> None:
    read = subject_keys if name == "ERASURE_LEDGER_KEYS" else signing_key
    path = Path(getattr(settings, name))
    path.chmod(0o640)
    with pytest.raises(UserFacingError, match=rf"^{name}: other accounts can read '{path}': nothing was changed\. Run chmod 600 {path}\.$"):
        read()
    path.chmod(0o600)
    path.write_text("no key")
    with pytest.raises(UserFacingError, match=rf"^'{path}' (is no file of ledger keys|has no Ed25519 key)"):
        read()
    path.unlink()
    with pytest.raises(UserFacingError, match=rf"^{name}: there is no file '{path}': nothing was changed\."):
        read()
    setattr(settings, name, "")
    with pytest.raises(UserFacingError, match=rf"^{name} is not set: nothing was changed\."):
        read()


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"current": 1, "keys": {}}',
        '{"current": 2, "keys": {"1": "AAAA"}}',
        '{"current": 1, "keys": {"1": "AAAA"}}',
        '{"current": 1, "keys": {"1": 7}}',
        '{"current": 0, "keys": {"0": "KEY"}}',
        '{"current": 1, "keys": {"1": "KEY", "40000": "KEY"}}',
        '{"current": true, "keys": {"1": "KEY"}}',
        '{"current": 1.0, "keys": {"1": "KEY"}}',
        '{"current": [], "keys": {"1": "KEY"}}',
        pytest.param("[" * 100_000, id="nested"),
    ],
)
def test_parse_keys__another_text(text: str) -> None:
    with pytest.raises(UserFacingError, match=r"^'keys' is no file of ledger keys"):
        parse_keys(text.replace("KEY", "A" * 43 + "=").encode(), "keys")


def test_create_keys__never_replaces_a_file(keys_folder: Path) -> None:
    for path, create in ((keys_folder / "ledger-keys.json", create_keys), (keys_folder / "signing-key.pem", create_signing_key)):
        before = path.read_bytes()
        with pytest.raises(UserFacingError, match="exists"):
            create(path)
        assert path.read_bytes() == before


def test_sign__verified_by_the_public_key_only(keys_folder: Path, tmp_path: Path) -> None:
    token = sign(b"payload", signing_key())
    public = keys_folder / "signing-key.pem.pub"
    assert b"PRIVATE" not in public.read_bytes()
    assert verified(token, verifying_keys(public)) == b"payload"
    create_signing_key(tmp_path / "other.pem")
    with pytest.raises(UserFacingError, match=r"^The signature is by the key \S+, which is not among the given keys"):
        verified(token, verifying_keys(tmp_path / "other.pem.pub"))
    header, _, signature = token.split(".")
    with pytest.raises(UserFacingError, match=r"does not fit: the text was edited"):
        verified(f"{header}.{sign(b'other', signing_key()).split('.')[1]}.{signature}", verifying_keys(public))
    with pytest.raises(UserFacingError, match=r"^This is no signature"):
        verified("no signature", verifying_keys(public))


def test_rotate_signing_key__old_signatures_are_still_verified(keys_folder: Path) -> None:
    path = keys_folder / "signing-key.pem"
    token = sign(b"payload", signing_key())
    rotate_signing_key(path, verifying_keys())
    rotate_signing_key(path, verifying_keys())
    new = sign(b"payload", signing_key())
    assert new != token
    assert path.read_bytes().count(b"PRIVATE KEY-----\n") == 2  # the first and the last line of one key
    for keys in (verifying_keys(), verifying_keys(keys_folder / "signing-key.pem.pub")):
        assert len(keys) == 3
        assert verified(token, keys) == verified(new, keys) == b"payload"


def test_signing_key__a_public_key__is_refused(keys_folder: Path, settings: Settings) -> None:
    public = keys_folder / "signing-key.pem.pub"
    public.chmod(0o600)
    settings.PRIVACY_SIGNING_KEY = str(public)
    with pytest.raises(UserFacingError, match="is public: nothing was changed"):
        signing_key()


def test_development__creates_the_files_in_the_default_folder_only(tmp_path: Path, settings: Settings) -> None:
    settings.PRIVACY_FILES_DIR, settings.PRIVACY_FILES_CREATED = str(tmp_path / "privacy"), True
    settings.ERASURE_LEDGER_KEYS = str(tmp_path / "privacy" / "ledger-keys.json")
    settings.PRIVACY_SIGNING_KEY = str(tmp_path / "elsewhere.pem")
    assert subject_keys() == subject_keys()
    assert stat.S_IMODE((tmp_path / "privacy").stat().st_mode) == 0o700
    with pytest.raises(UserFacingError, match="there is no file"):
        signing_key()
    settings.PRIVACY_FILES_CREATED = False
    (tmp_path / "privacy" / "ledger-keys.json").unlink()
    with pytest.raises(UserFacingError, match="there is no file"):
        subject_keys()


def test_command__creates_and_rotates(tmp_path: Path, settings: Settings) -> None:
    settings.PRIVACY_FILES_CREATED = False
    settings.ERASURE_LEDGER_KEYS, settings.PRIVACY_SIGNING_KEY = str(tmp_path / "keys.json"), str(tmp_path / "key.pem")
    code, _, error = manage_here("ledger_keys", "--rotate")
    assert (code, error) == (
        2,
        f"ERASURE_LEDGER_KEYS: there is no file '{tmp_path}/keys.json': nothing was changed. Run manage.py ledger_keys without --rotate.\n",
    )
    code, printed, _ = manage_here("ledger_keys")
    assert code in {0, None}
    assert printed == (
        f"ERASURE_LEDGER_KEYS: {tmp_path}/keys.json was written. Back it up now, away from the database and its backups.\n"
        f"PRIVACY_SIGNING_KEY: {tmp_path}/key.pem was written. Back it up now, away from the database and its backups.\n"
    )
    code, printed, _ = manage_here("ledger_keys", "--json")
    assert json.loads(printed) == {
        "written": {},
        "unchanged": {"ERASURE_LEDGER_KEYS": f"{tmp_path}/keys.json", "PRIVACY_SIGNING_KEY": f"{tmp_path}/key.pem"},
    }
    manage_here("ledger_keys", "--rotate")
    assert subject_keys().current == 2
    assert len(verifying_keys()) == 2


@pytest.mark.parametrize("option", [[], ["--rotate"]], ids=["create", "rotate"])
@pytest.mark.parametrize("whose", ["another account", "writable"])
def test_command__folder_in_which_another_account_can_replace_the_key__is_refused(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, option: list[str], whose: str
) -> None:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    settings.PRIVACY_FILES_CREATED = False
    settings.ERASURE_LEDGER_KEYS, settings.PRIVACY_SIGNING_KEY = str(folder / "keys.json"), str(folder / "key.pem")
    if option:
        manage_here("ledger_keys")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    if whose == "writable":
        folder.chmod(0o770)
        expected = f"other accounts can write to the folder '{folder}' and replace the key: nothing was changed. Run chmod 700 {folder}.\n"
    else:
        os.chown(folder, 65534, -1) if os.geteuid() == 0 else monkeypatch.setattr(os, "geteuid", lambda: 65534)
        expected = (
            f"the folder '{folder}' belongs to another account, which could replace the key: nothing was changed. Run this as that account, or set"
            " another path.\n"
        )
    code, _, error = manage_here("ledger_keys", *option)
    assert (code, error) == (2, f"ERASURE_LEDGER_KEYS: {expected}")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_command__no_folder__is_one_line(tmp_path: Path, settings: Settings) -> None:
    settings.PRIVACY_FILES_CREATED = False
    settings.ERASURE_LEDGER_KEYS, settings.PRIVACY_SIGNING_KEY = str(tmp_path / "no" / "keys.json"), str(tmp_path / "key.pem")
    code, _, error = manage_here("ledger_keys")
    assert (code, error) == (
        2,
        f"ERASURE_LEDGER_KEYS: the folder '{tmp_path}/no' cannot be used (No such file or directory): nothing was changed. Create it with mode 700.\n",
    )
