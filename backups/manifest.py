"""The manifest of a backup: what the backup consists of, so that a restore can be compared with it. Without a manifest there is no backup.

It is a JSON file, written last. It has no personal data and no secret, and is not encrypted: ids of databases and collections, names of tables and
migrations, counts and digests. The signature is a JWS (RFC 7515) with a detached payload, the canonical JSON (RFC 8785) of the manifest.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import rfc8785
from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from findme.core.errors import UserFacingError
from privacy.ledger.signing import sign, verified

if TYPE_CHECKING:
    from joserfc.jwk import OKPKey

    from privacy.ledger.signing import VerifyingKeys

KIND = "FindMe backup"
FORMAT = 1
"""Increase it when a restore by an older release would misunderstand the backup."""
LARGEST = 50_000_000
"""Bytes of the largest manifest that is read. One with 10,000 tables has about 2 MB."""

STRICT = ConfigDict(extra="forbid", strict=True)
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Time = Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC))]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,250}$")]
"""A name in the folder of the backup. It cannot lead out of it."""


@dataclass(frozen=True, slots=True, config=STRICT)
class File:
    """A file of the backup. ``size`` and ``sha256`` are those of the file, ``plain_size`` and ``plain_sha256`` those before compression and encryption."""

    name: FileName
    size: Count
    sha256: Sha256
    plain_size: Count
    plain_sha256: Sha256


@dataclass(frozen=True, slots=True, config=STRICT)
class Table:
    """The number of rows, and the order-independent digest of ``backups.postgresql.digests``, a decimal number."""

    rows: Count
    digest: Annotated[str, StringConstraints(pattern=r"^-?[0-9]{1,60}$")]


@dataclass(frozen=True, slots=True, config=STRICT)
class LedgerHead:
    """The last entry of the erasure ledger in the backup: its position, 0 for an empty ledger, and its SHA-256."""

    position: Count
    digest: Sha256


@dataclass(frozen=True, slots=True, config=STRICT)
class Database:
    """The database that was backed up: its name, its oid, and the decimal number that initdb gave to the server."""

    name: str
    oid: Count
    system_identifier: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,20}$")]

    @property
    def identity(self) -> str:
        """Return what no other database has. One that was restored on the same server, under the same name, continues its backups."""
        return f"{self.system_identifier}/{self.name}"


@dataclass(frozen=True, slots=True, config=STRICT)
class PostgresqlPart:
    """What the backup has of PostgreSQL. All is of one snapshot, taken at ``snapshot_at``.

    ``migrations`` are ``app.name`` in the order of application. ``tables`` are those whose rows are in the dump, by ``schema.name``.
    """

    server_version: str
    dump_version: str
    snapshot_at: Time
    migrations: tuple[str, ...]
    tables: dict[str, Table]
    ledger: LedgerHead | None
    dump: File
    cluster: File

    @property
    def dump_major(self) -> int:
        """The major version of the ``pg_dump`` that made the dump."""
        return int(self.dump_version.partition(".")[0])

    @property
    def rows(self) -> int:
        """The number of rows of all tables."""
        return sum(table.rows for table in self.tables.values())


@dataclass(frozen=True, slots=True, config=STRICT)
class NodeSnapshot:
    """The snapshot of one node. ``peer_id`` is 0 for a server that is not part of a cluster."""

    peer_id: Count
    file: File


@dataclass(frozen=True, slots=True, config=STRICT)
class QdrantPart:
    """What the backup has of Qdrant. ``points``, ``highest_version`` and ``digest`` (of the ids and versions) were read after the snapshots.

    ``definition_hash`` is the one of the collection's metadata. ``checkpoint`` is the id of its checkpoint. ``queued_before`` and ``queued_after``
    are the numbers of users that waited for the sync before the snapshots and after the reading.
    """

    server_version: str
    alias: str
    collection: str
    definition_hash: str
    checkpoint: str
    snapshot_at: Time
    points: Count
    highest_version: Count
    digest: Sha256
    queued_before: Count
    queued_after: Count
    nodes: tuple[NodeSnapshot, ...]


@dataclass(frozen=True, slots=True, config=STRICT)
class Manifest:
    """One backup.

    ``only`` is the store that was asked for, and ``tables`` are those that were asked for; both are empty for all. ``without_qdrant`` says why there
    is no part of Qdrant, although it was asked for. ``reaches_back_seconds`` is the time from the oldest data to the end of the backup: a failure right after the
    backup loses the changes of that many seconds.
    """

    kind: str
    format: int
    name: FileName
    app_version: str
    begun_at: Time
    ended_at: Time
    reaches_back_seconds: float
    database: Database
    is_encrypted: bool
    only: Literal["", "postgres", "qdrant"]
    tables: tuple[str, ...]
    postgresql: PostgresqlPart | None
    qdrant: QdrantPart | None
    without_qdrant: str

    @property
    def files(self) -> tuple[File, ...]:
        return (
            *(() if self.postgresql is None else (self.postgresql.cluster, self.postgresql.dump)),
            *(() if self.qdrant is None else (node.file for node in self.qdrant.nodes)),
        )

    @property
    def is_complete(self) -> bool:
        """Whether the backup brings back everything. Qdrant can be built again from PostgreSQL, but not the other way round."""
        return self.postgresql is not None and not self.only and not self.tables

    @property
    def taken_at(self) -> datetime:
        """The time of the oldest data in the backup."""
        times = [part.snapshot_at for part in (self.postgresql, self.qdrant) if part is not None]
        return min(times, default=self.begun_at)


DAMAGED = "The manifest is damaged: it is not JSON with a manifest and its signature. Use another backup."

_ADAPTER: TypeAdapter[Manifest] = TypeAdapter(Manifest)


def signed(manifest: Manifest, key: OKPKey) -> bytes:
    """Return the content of the manifest's file."""
    fields = _ADAPTER.dump_python(manifest, mode="json")
    header, _, signature = sign(rfc8785.dumps(fields), key).split(".")
    return json.dumps({"manifest": fields, "signature": f"{header}..{signature}"}, indent=2, ensure_ascii=False).encode()


def read_manifest(content: bytes, keys: VerifyingKeys) -> Manifest:
    """Return the manifest. Raise UserFacingError if none of the keys signed it, if it was edited, or if a later release made it."""
    fields, signature = _parts(content)
    header, _, end = signature.partition("..")
    try:
        payload = urlsafe_b64encode(rfc8785.dumps(fields)).rstrip(b"=").decode()
    except (rfc8785.CanonicalizationError, RecursionError):
        raise UserFacingError(DAMAGED) from None
    verified(f"{header}.{payload}.{end}", keys)
    return _manifest_of(fields)


def _manifest_of(fields: dict[str, Any]) -> Manifest:
    if fields.get("kind") != KIND or not isinstance(fields.get("format"), int):
        raise UserFacingError("The file is no manifest of a backup. Name the folder of a backup, as list_backups shows it.")
    if fields["format"] > FORMAT:
        raise UserFacingError(
            "A later release of FindMe made the backup. Install the release that its manifest names, then run the command again."
        )
    try:
        return _ADAPTER.validate_json(json.dumps(fields))
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise UserFacingError(f"The manifest is damaged at {place!r}. Use another backup, or get the original of this one.") from None


def _parts(content: bytes) -> tuple[dict[str, Any], str]:
    try:
        found = json.loads(content[:LARGEST])
        fields, signature = found["manifest"], found["signature"]
    except (ValueError, TypeError, KeyError, RecursionError):
        fields = signature = None
    if not isinstance(fields, dict) or not isinstance(signature, str):
        raise UserFacingError(DAMAGED)
    return fields, signature
