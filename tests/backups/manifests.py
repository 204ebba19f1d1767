"""A manifest with every kind of value."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from backups.manifest import FORMAT, KIND, Database, File, LedgerHead, Manifest, NodeSnapshot, PostgresqlPart, QdrantPart, Table

BEGUN_AT = datetime(2026, 12, 1, 3, 4, 5, 678901, UTC)


def file(name: str) -> File:
    return File(name=name, size=1234, sha256="a" * 64, plain_size=5678, plain_sha256="b" * 64)


def manifest(**changes: Any) -> Manifest:
    whole = Manifest(
        kind=KIND,
        format=FORMAT,
        name="20261201T030405Z-0123abcd",
        app_version="0.1.0",
        begun_at=BEGUN_AT,
        ended_at=BEGUN_AT + timedelta(minutes=2),
        reaches_back_seconds=118.5,
        database=Database(name="findme", oid=16384, system_identifier="7543210987654321098"),
        is_encrypted=True,
        only="",
        tables=(),
        postgresql=PostgresqlPart(
            server_version="18.6",
            dump_version="18.6",
            snapshot_at=BEGUN_AT + timedelta(seconds=1),
            migrations=("privacy.0001_erased_users", "accounts.0001_initial"),
            tables={
                "public.users": Table(rows=210, digest="-123456789012345678901234567890"),
                'public."Odd name"': Table(rows=0, digest="0"),
            },
            ledger=LedgerHead(position=7, digest="c" * 64),
            dump=file("postgresql.dump.zst.age"),
            cluster=file("cluster.json.zst.age"),
        ),
        qdrant=QdrantPart(
            server_version="1.18.3",
            alias="profile_embeddings",
            collection="profile_embeddings_v1",
            definition_hash="d" * 64,
            checkpoint="0f0e0d0c-0b0a-0908-0706-050403020100",
            snapshot_at=BEGUN_AT + timedelta(minutes=1),
            points=200,
            highest_version=321,
            digest="e" * 64,
            queued_before=3,
            queued_after=0,
            nodes=(NodeSnapshot(peer_id=0, file=file("qdrant-0.snapshot.zst.age")),),
        ),
        without_qdrant="",
    )
    return replace(whole, **changes)
