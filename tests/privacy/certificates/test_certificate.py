"""Certificates of erasures: what they say, and what a verification refuses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from base64 import urlsafe_b64decode
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from joserfc.jwk import OKPKey

from findme.core.errors import UserFacingError
from findme.environment import BASE_DIR
from privacy.certificates.issue import issue_certificate
from privacy.certificates.verify import verify_certificate
from privacy.ledger.book import NewEntry
from privacy.ledger.entry import Kind, LedgerBroken
from privacy.ledger.expiry import expire
from privacy.ledger.outside import FolderLedger
from privacy.ledger.publication import LedgerBehind, record_entries
from privacy.ledger.signing import create_signing_key, rotate_signing_key, sign, signing_key, verifying_keys
from privacy.models import DataSubjectRequest, Hold, LedgerState
from privacy.models.request_choices import State
from tests.emptying import without_append_only
from tests.factories import UserFactory
from tests.privacy.erasures.rows import insert_erasure, run
from tests.privacy.ledger.aged import YEARS, add_entries
from tests.privacy.requests.rows import request_in
from tests.support.commands import manage_here
from tests.support.processes import python

pytestmark = pytest.mark.django_db(transaction=True)

STEPS = ("exports", "files", "log_ins", "sessions", "rows", "admin_log", "point", "scan", "segments", "snapshots", "backups")
PLAN = {"deleted.users": 1, "deleted.videos": 2, "kept.audit_log": 3, "store.vector_store": 1, "files_kept": 2, "hold.matches.17_3_b": 4}
PURGING = STEPS[-4:]


@pytest.fixture
def ledger() -> Path:
    return Path(settings.ERASURE_LEDGER_URL)


def erased(*, plan: dict[str, int] | None = None, open_steps: tuple[str, ...] = PURGING, state: str = "erased") -> DataSubjectRequest:
    """Insert a request and its erasure, with an entry before and after it in the ledger."""
    user_id = uuid4()
    request_id = request_in(State.APPROVED, kind="erasure", user_id=user_id, contact="jane@example.org")
    record_entries([NewEntry(Kind.SOFT_DELETE, uuid4())])
    (position,) = record_entries([NewEntry(Kind.ERASE, user_id, {"videos": 2})])
    record_entries([NewEntry(Kind.ANONYMIZE, uuid4())])
    erasure_id = insert_erasure(steps=STEPS, request_id=request_id, user_id=user_id, plan=PLAN if plan is None else plan)
    done = [step for step in STEPS if step not in open_steps]
    run("UPDATE erasure_steps SET done_at = now(), count = 1 WHERE erasure_id = %s AND step = ANY (%s)", erasure_id, done)
    run("UPDATE erasures SET ledger_position = %s WHERE id = %s", position, erasure_id)
    if state != "sealed":
        run("UPDATE erasures SET state = 'erased', erased_at = now() WHERE id = %s", erasure_id)
    if state == "purged":
        run("UPDATE erasures SET state = 'purged', purged_at = now() WHERE id = %s", erasure_id)
    return DataSubjectRequest.objects.get(pk=request_id)


def contents_of(token: str) -> dict[str, Any]:
    """Return the contents without a check of the signature."""
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def public_keys() -> Path:
    return Path(f"{settings.PRIVACY_SIGNING_KEY}.pub")


# --- What it says -----------------------------------------------------------------------------------------------------------------


def test_certificate__says_what_was_destroyed_and_what_is_open(ledger: Path) -> None:
    request = erased()
    token = issue_certificate(request.pk)
    contents = verify_certificate(token, verifying_keys(public_keys()), ledger)
    assert contents["request"] == str(request.pk)
    assert (contents["is_erased"], contents["is_purged"], contents["purged_at"]) == (True, False, None)
    assert contents["plan"] == {
        "deleted": {"users": 1, "videos": 2},
        "cleared": {},
        "kept": {"audit_log": 3},
        "stores": {"vector_store": 1},
        "holds": [{"section": "matches", "ground": "17_3_b", "count": 4}],
        "files_deleted": 0,
        "files_kept": 2,
    }
    assert contents["open_steps"] == list(PURGING)
    assert [step["step"] for step in contents["steps"]] == list(STEPS)
    assert [step["done_at"] is None for step in contents["steps"]] == [step in PURGING for step in STEPS]
    assert (contents["entry"]["position"], contents["head"]["position"]) == (2, 3)


def test_certificate__of_a_purged_erasure(ledger: Path) -> None:
    request = erased(state="purged", open_steps=())
    contents = verify_certificate(issue_certificate(request.pk), verifying_keys(public_keys()), ledger)
    assert (contents["is_purged"], contents["open_steps"]) == (True, [])
    assert contents["purged_at"] is not None


def test_certificate__has_no_personal_data() -> None:
    """Not even the HMAC of the user's id, which leads to the user with the key."""
    request = erased()
    text = json.dumps(contents_of(issue_certificate(request.pk)))
    assert str(request.pk) in text
    for secret in (str(request.user_id), UUID(str(request.user_id)).hex, "jane", "subject", request.recorded_by_account or "ann"):
        assert secret not in text


def test_certificate__of_an_erasure_with_a_hold(ledger: Path) -> None:
    request = erased(state="sealed", open_steps=("rows", *PURGING))
    with pytest.raises(UserFacingError, match="Nothing was erased for the request"):
        issue_certificate(request.pk)
    held = UserFactory.create(pk=request.user_id)
    Hold.objects.create(user_id=held.pk, section="matches", article="17_3_e", until=date(2099, 5, 3), set_by_account="ann")
    run("UPDATE erasure_steps SET waits_for = 'hold', waits_until = '2027-05-04 00:00+00' WHERE step = 'rows'")
    contents = verify_certificate(issue_certificate(request.pk), verifying_keys(public_keys()), ledger)
    assert (contents["is_erased"], contents["erased_at"]) == (False, None)
    (rows,) = [step for step in contents["steps"] if step["step"] == "rows"]
    assert (rows["waits_for"], rows["waits_until"]) == ("hold", "2027-05-04T00:00:00+00:00")
    assert contents["holds"] == [{"section": "matches", "ground": "17_3_e", "until": "2099-05-03"}]


def test_certificate__of_a_request_without_an_erasure__is_one_line() -> None:
    unknown = uuid4()
    for request_id, reason in ((unknown, "There is no request"), (request_in(State.APPROVED), "Nothing was erased")):
        code, out, err = manage_here("erasure_certificate", request_id)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(reason)
        assert "no certificate was issued. Run manage.py privacy_request" in err


def test_certificate__entry_not_outside_yet() -> None:
    request = erased()
    LedgerState.objects.update(published_position=1, published_first=1)
    for path in sorted(Path(settings.ERASURE_LEDGER_URL).iterdir())[1:]:
        path.unlink()
    with pytest.raises(UserFacingError, match=r"^Entry 2 of the ledger is not outside yet: no certificate was issued\."):
        issue_certificate(request.pk)


def test_certificate__of_a_restored_database__is_refused() -> None:
    request = erased()
    position = LedgerState.published()
    with without_append_only() as cursor:
        cursor.execute("DELETE FROM erasure_ledger WHERE position = %s", [position])
    LedgerState.objects.update(published_position=position - 1, published_first=position - 1)
    with pytest.raises(LedgerBehind):
        issue_certificate(request.pk)


# --- Verification -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def issued() -> str:
    return issue_certificate(erased().pk)


def cut_off(ledger: Path) -> None:
    max(ledger.iterdir()).unlink()


def edit(ledger: Path) -> None:
    path = sorted(ledger.iterdir())[1]
    path.write_bytes(path.read_bytes().replace(b'"videos":2', b'"videos":3'))


def lose_one(ledger: Path) -> None:
    sorted(ledger.iterdir())[1].unlink()


def empty(ledger: Path) -> None:
    shutil.rmtree(ledger)
    ledger.mkdir()


def remove(ledger: Path) -> None:
    shutil.rmtree(ledger)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut_off, r"has no entry 3, which the certificate names: it was cut off\."),
        (edit, r"^Entry|does not fit|is not the one that was signed|cut off or was edited"),
        (lose_one, r"does not follow entry 1"),
        (empty, r"has no entry 2, which the certificate names: it was cut off\."),
        (remove, r"^There is no folder '.*': the certificate was not verified\."),
    ],
)
def test_verify__damaged_ledger(issued: str, ledger: Path, tmp_path: Path, damage: Callable[[Path], None], reason: str) -> None:
    copy = tmp_path / "ledger"
    shutil.copytree(ledger, copy)
    keys = verifying_keys(public_keys())
    assert verify_certificate(issued, keys, copy)
    damage(copy)
    with pytest.raises(UserFacingError, match=reason):
        verify_certificate(issued, keys, copy)


def test_verify__other_ledger_of_the_same_key(issued: str, ledger: Path, tmp_path: Path) -> None:
    """It is complete and its signatures are right, but it has other entries."""
    shutil.rmtree(ledger)
    ledger.mkdir()
    with without_append_only() as cursor:
        cursor.execute("DELETE FROM erasure_ledger")
    LedgerState.objects.update(published_position=0, published_first=0)
    for _ in range(4):
        record_entries([NewEntry(Kind.ERASE, uuid4())])
    with pytest.raises(UserFacingError, match=r"^Entry 2 of the ledger in '.*' is another one than in the certificate\."):
        verify_certificate(issued, verifying_keys(public_keys()), ledger)


def test_verify__key_that_is_not_given(issued: str, ledger: Path, tmp_path: Path) -> None:
    create_signing_key(tmp_path / "other.pem")
    with pytest.raises(UserFacingError, match=r"^The signature is by the key \S+, which is not among the given keys\."):
        verify_certificate(issued, verifying_keys(tmp_path / "other.pem.pub"), ledger)


def test_verify__certificate_of_another_key(issued: str, ledger: Path, tmp_path: Path) -> None:
    """The certificate names our key, and another key signed it."""
    other = OKPKey.generate_key("Ed25519", private=True)
    head = issued.split(".")[0]
    forged = sign(json.dumps(contents_of(issued) | {"is_purged": True}).encode(), other).split(".")
    with pytest.raises(UserFacingError, match=r"^The signature by the key \S+ does not fit: the text was edited\."):
        verify_certificate(".".join([head, *forged[1:]]), verifying_keys(public_keys()), ledger)


def test_verify__edited_certificate(issued: str, ledger: Path) -> None:
    head, payload, signature = issued.split(".")
    edited = ".".join([head, ("A" if payload[40] != "A" else "B").join([payload[:40], payload[41:]]), signature])
    with pytest.raises(UserFacingError, match="does not fit"):
        verify_certificate(edited, verifying_keys(public_keys()), ledger)


def test_verify__signed_head_of_the_ledger__is_no_certificate(issued: str, ledger: Path) -> None:
    token = json.loads(min(ledger.iterdir()).read_bytes().splitlines()[-1])["jws"]
    with pytest.raises(UserFacingError, match="it is no certificate of this version"):
        verify_certificate(token, verifying_keys(public_keys()), ledger)


def test_verify__after_a_rotation_of_the_key(issued: str, ledger: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The old public key stays in the file."""
    path = tmp_path / "signing.pem"
    shutil.copy(settings.PRIVACY_SIGNING_KEY, path)
    rotate_signing_key(path, verifying_keys())
    monkeypatch.setattr(settings, "PRIVACY_SIGNING_KEY", str(path))
    record_entries([NewEntry(Kind.ERASE, uuid4())])
    assert signing_key().thumbprint() not in issued
    assert verify_certificate(issued, verifying_keys(tmp_path / "signing.pem.pub"), ledger)["head"]["position"] == 3


def test_verify__broken_entry__is_named(issued: str, ledger: Path) -> None:
    path = sorted(ledger.iterdir())[1]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(LedgerBroken, match="begins at entry 2 is cut off or was edited"):
        verify_certificate(issued, verifying_keys(public_keys()), ledger)


def documented_program(certificate: str, ledger: Path, folder: Path) -> int:
    """Run the program of the documentation, without FindMe, and return its exit code."""
    section = (BASE_DIR / "docs" / "privacy.md").read_text().split("### Verification without FindMe", 1)[1].split("\n## ", 1)[0]
    (folder / "verify.py").write_text(section.split("```python\n", 1)[1].split("```", 1)[0])
    (folder / "certificate.jws").write_text(f"{certificate}\n")
    arguments = [sys.executable, "-I", *map(str, (folder / "verify.py", folder / "certificate.jws", public_keys(), ledger))]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (ended.stdout == "valid\n") == (ended.returncode == 0), ended.stderr
    return ended.returncode


def test_documentation__verifies_without_findme(issued: str, ledger: Path, tmp_path: Path) -> None:
    assert documented_program(issued, ledger, tmp_path) == 0
    contents = contents_of(issued)
    forged = sign(json.dumps(contents | {"entry": {"position": 1, "digest": contents["head"]["digest"]}}).encode(), signing_key())
    assert documented_program(forged, ledger, tmp_path) == 1
    first, *_ = sorted(ledger.iterdir())
    first.rename(ledger / "lost")
    assert documented_program(issued, ledger, tmp_path) == 1
    (ledger / "lost").rename(first)
    cut_off(ledger)
    assert documented_program(issued, ledger, tmp_path) == 1


def test_documentation__verifies_a_ledger_that_begins_after_a_checkpoint(ledger: Path, tmp_path: Path) -> None:
    add_entries(2, YEARS)
    (old,) = ledger.iterdir()
    content = old.read_bytes()
    before = issue_certificate(erased().pk)
    assert expire(1095) == 2
    assert FolderLedger(ledger).firsts()[0] == 3
    keys = verifying_keys(public_keys())
    assert verify_certificate(before, keys, ledger)["entry"]["position"] == 4
    assert documented_program(before, ledger, tmp_path) == 0
    old.write_bytes(content)  # a process was killed before it deleted the object
    assert documented_program(before, ledger, tmp_path) == 0
    old.unlink()
    (checkpoint,) = (ledger / "checkpoints").iterdir()
    for position in (1, 2):
        forged = sign(json.dumps(contents_of(before) | {"entry": {"position": position, "digest": "00" * 32}}).encode(), signing_key())
        assert documented_program(forged, ledger, tmp_path) == 1
    head, payload, signature = checkpoint.read_text().split(".")
    checkpoint.write_text(".".join([head, payload.swapcase(), signature]))
    assert documented_program(before, ledger, tmp_path) == 1
    checkpoint.unlink()
    assert documented_program(before, ledger, tmp_path) == 1


def test_commands__verify_without_a_database(ledger: Path, tmp_path: Path) -> None:
    request = erased()
    run("UPDATE erasure_steps SET waits_for = 'retention', waits_until = '2027-05-04 00:00+00' WHERE step = 'backups'")
    code, token, err = manage_here("erasure_certificate", request.pk)
    assert (code, err) == (0, "")
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", token)
    path = tmp_path / "certificate.jws"
    path.write_text(token)
    arguments = ["manage.py", "verify_certificate", str(path), "--public-keys", str(public_keys()), "--ledger", str(ledger)]
    code, out, err = python(*arguments)
    assert (code, err) == (0, "")
    first, second, third, *waiting = out.splitlines()
    assert first == f"The certificate of request {request.pk} is valid."
    assert second.startswith("The ledger has its entry 2, and continues to entry 3, which was the last one at 20")
    assert re.fullmatch(r"Erased: 20\S+\. Purged: not yet\.", third)
    assert waiting == [
        "Scan of the stores: waits for the next run of process_requests.",
        "Bytes in the stores: waits for the next run of process_requests.",
        "Snapshots: waits for the next run of process_requests.",
        "Backups: waits for the end of the retention of backups until 2027-05-04T00:00:00+00:00.",
    ]
    code, out, err = python(*arguments, "--json")
    assert (code, err, json.loads(out)) == (0, "", contents_of(token))
    path.write_text("no certificate")
    code, out, err = python(*arguments)
    assert (code, out) == (2, "")
    assert err == "This is no signature (a JWS in compact form). Pass the file as it was written.\n"


def test_command__no_uuid__is_one_line_that_says_where_to_find_it() -> None:
    code, _, error = manage_here("erasure_certificate", "x")
    assert code == 2
    assert error.startswith("argument REQUEST: 'x' is not the UUID of a request; manage.py privacy_request list shows them.")
