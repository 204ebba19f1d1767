from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OKPKey

from backups.manifest import FORMAT, read_manifest, signed
from findme.core.errors import UserFacingError
from privacy.ledger.signing import sign
from tests.backups.manifests import BEGUN_AT, file, manifest

if TYPE_CHECKING:
    from backups.manifest import Manifest

KEY = OKPKey.generate_key("Ed25519", private=True)
KEYS = {KEY.thumbprint(): KEY}
CONTENT = signed(manifest(), KEY)


def changed(change: Any, *, is_signed: bool) -> bytes:
    """Return the content after ``change`` of its fields, with the old signature, or with one that fits."""
    fields = json.loads(CONTENT)
    change(fields["manifest"])
    if is_signed:
        header, _, signature = sign(rfc8785.dumps(fields["manifest"]), KEY).split(".")
        fields["signature"] = f"{header}..{signature}"
    return json.dumps(fields).encode()


def test_manifest__returns_as_it_was_written() -> None:
    assert read_manifest(CONTENT, KEYS) == manifest()


def test_manifest__each_file_is_named_once() -> None:
    assert [one.name for one in manifest().files] == ["cluster.json.zst.age", "postgresql.dump.zst.age", "qdrant-0.snapshot.zst.age"]
    assert manifest(qdrant=None).files == (file("cluster.json.zst.age"), file("postgresql.dump.zst.age"))
    assert len(manifest(postgresql=None).files) == 1


def test_manifest__taken_at__is_the_time_of_the_oldest_data() -> None:
    assert manifest().taken_at == BEGUN_AT + timedelta(seconds=1)
    assert manifest(postgresql=None).taken_at == BEGUN_AT + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("one", "is_complete"),
    [
        (manifest(), True),
        (manifest(qdrant=None, without_qdrant="The embedded vector store has no snapshots."), True),
        (manifest(qdrant=None, only="postgres"), False),
        (manifest(postgresql=None, only="qdrant"), False),
        (manifest(tables=("users",), only="postgres", qdrant=None), False),
    ],
)
def test_manifest__is_complete__only_with_all_of_postgresql(one: Manifest, is_complete: bool) -> None:
    assert one.is_complete is is_complete


@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_read_manifest__a_changed_byte__is_refused_or_changes_nothing(place: int, change: int) -> None:
    edited = bytearray(CONTENT)
    edited[place] ^= change
    with suppress(UserFacingError):
        assert read_manifest(bytes(edited), KEYS) == manifest()


@given(st.integers(0, len(CONTENT) - 1))
def test_read_manifest__cut_off__is_refused(length: int) -> None:
    with pytest.raises(UserFacingError, match="The manifest is damaged"):
        read_manifest(CONTENT[:length], KEYS)


@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode))
def test_read_manifest__anything_else__is_refused(content: bytes) -> None:
    with pytest.raises(UserFacingError, match="The manifest is damaged"):
        read_manifest(content, KEYS)


@pytest.mark.parametrize("nested", ['{"manifest": {"a": ' * 1 + "[" * 5000 + "]" * 5000 + '}, "signature": "a..b"}', "[" * 100_000])
def test_read_manifest__deeply_nested__is_refused(nested: str) -> None:
    with pytest.raises(UserFacingError, match="The manifest is damaged"):
        read_manifest(nested.encode(), KEYS)


def test_read_manifest__another_key__is_refused() -> None:
    other = OKPKey.generate_key("Ed25519", private=True)
    with pytest.raises(UserFacingError, match="not among the given keys"):
        read_manifest(CONTENT, {other.thumbprint(): other})


def test_read_manifest__edited__is_refused() -> None:
    content = changed(lambda fields: fields["postgresql"]["tables"].pop("public.users"), is_signed=False)
    with pytest.raises(UserFacingError, match="the text was edited"):
        read_manifest(content, KEYS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fields: fields.update(kind="FindMe erasure"), "no manifest of a backup"),
        (lambda fields: fields.update(format="1"), "no manifest of a backup"),
        (lambda fields: fields.update(format=FORMAT + 1), "A later release"),
        (lambda fields: fields.update(surplus=1), "'surplus'"),
        (lambda fields: fields.pop("begun_at"), "'begun_at'"),
        (lambda fields: fields["postgresql"]["dump"].update(size=-1), "'postgresql.dump.size'"),
        (lambda fields: fields["postgresql"]["dump"].update(size=1.5), "'postgresql.dump.size'"),
        (lambda fields: fields["postgresql"]["dump"].update(sha256="A" * 64), "'postgresql.dump.sha256'"),
        (lambda fields: fields["qdrant"]["nodes"][0]["file"].update(name="../users"), "'qdrant.nodes.0.file.name'"),
        (lambda fields: fields["qdrant"]["nodes"][0]["file"].update(name=".."), "'qdrant.nodes.0.file.name'"),
        (lambda fields: fields.update(name="a/b"), "'name'"),
        (lambda fields: fields.update(ended_at="2026-12-01T03:04:05"), "'ended_at'"),
        (lambda fields: fields.update(ended_at="0001-01-01T00:00:00Z"), "'ended_at'"),
        (lambda fields: fields["database"].update(system_identifier="-1"), "'database.system_identifier'"),
    ],
)
def test_read_manifest__wrong_value__is_named(change: Any, message: str) -> None:
    with pytest.raises(UserFacingError, match=message):
        read_manifest(changed(change, is_signed=True), KEYS)


def test_manifest__no_part_of_postgresql__returns_as_it_was_written() -> None:
    for one in (manifest(postgresql=None, only="qdrant"), manifest(qdrant=None, only="postgres", tables=("users",))):
        assert read_manifest(signed(one, KEY), KEYS) == one
    assert replace(manifest(), is_encrypted=False) != manifest()
