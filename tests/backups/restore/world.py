"""Two stores with a backup and with changes since then, to restore."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import connection

from backups.contents import StoredBackup
from backups.create import create_backup
from backups.destinations.opening import open_destination
from backups.listing import manifest_in
from backups.manifest import Manifest
from backups.postgresql.scratch import abandoned_databases
from backups.qdrant import Servers
from backups.restoring.restore import Request, Restored, restore_source
from backups.restoring.sources import BackupSource
from backups.streams.keys import Identity, Recipient
from privacy.actions.erase import erase
from privacy.ledger.signing import verifying_keys
from tests.backups.making import SERVERS
from tests.backups.making import request as backup_request
from tests.factories import MatchFactory, ProfileEmbeddingFactory, VideoFactory
from tests.support.database import Database
from vectorstore.catalog import registry
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import sync_users
from vectorstore.verification.verify import verify

NAME_IN_THE_BACKUP = "Ann of the Backup"


@dataclass(frozen=True)
class World:
    """A backup in ``place``, and users: those who ``stay``, one who was ``erased`` since, a ``newcomer``, and one whose name was ``changed``."""

    place: Path | str
    backup: Manifest
    stay: tuple[UUID, ...]
    erased: UUID
    newcomer: UUID
    changed: UUID

    def source(self, identities: Sequence[Identity] = ()) -> BackupSource:
        return source_of(self.place, self.backup.name, identities)

    def restore(self, identities: Sequence[Identity] = (), **changes: Any) -> Restored:
        return restore_source(self.source(identities), request(**changes))


def source_of(place: Path | str, name: str, identities: Sequence[Identity] = ()) -> BackupSource:
    """Return the backup ``name`` in ``place``."""
    destination = open_destination(str(place))
    return BackupSource(StoredBackup(destination, name, identities), manifest_in(destination, name, verifying_keys()))


def request(**changes: Any) -> Request:
    return replace(
        Request(
            target=connection,
            with_qdrant=True,
            only="",
            jobs=2,
            force=True,
            with_owners=True,
            servers=SERVERS,
            min_recall=None,
            discard_vectors=0,
            timeout=60,
            folder=None,
        ),
        **changes,
    )


def make_world(place: Path | str, *, users: int = 4, recipients: Sequence[Recipient] = (), servers: Servers = SERVERS) -> World:
    """Fill both stores, back them up, and change them."""
    initialize()
    made_users = [one.user for one in ProfileEmbeddingFactory.create_batch(users)]
    VideoFactory.create(user=made_users[0])
    MatchFactory.create(user=made_users[2], matched_user=made_users[0])
    erased, changed, *stay = made = [one.pk for one in made_users]
    get_user_model().objects.filter(pk=changed).update(full_name=NAME_IN_THE_BACKUP)
    sync_users(made)
    backup = create_backup(open_destination(str(place)), backup_request(recipients=recipients, servers=servers))
    get_user_model().objects.filter(pk=changed).update(full_name="Ann of Today")
    newcomer = ProfileEmbeddingFactory.create().user.pk
    erase(erased)
    sync_users([changed, newcomer])
    return World(place, backup, tuple(stay), erased, newcomer, changed)


def users() -> set[UUID]:
    return set(get_user_model()._base_manager.values_list("pk", flat=True))


def is_restored(world: World) -> bool:
    """Return whether the database is the restored one, whole. Raise AssertionError if it is neither that nor the one of today, or if the stores differ."""
    found = users()
    name = get_user_model().objects.get(pk=world.changed).full_name
    assert world.erased not in found
    if world.newcomer in found:
        assert found == {*world.stay, world.changed, world.newcomer}
        assert name == "Ann of Today"
    else:
        assert found == {*world.stay, world.changed}
        assert name == NAME_IN_THE_BACKUP
    assert differences() == 0
    return world.newcomer not in found


def differences() -> int:
    """Return how many points differ from PostgreSQL, in the live collection."""
    done = verify()
    assert done.restore_detected is None
    (live, *_) = done.collections
    return live.differing


def left_over(server: Database) -> list[str]:
    """Return the names of scratch databases that a restore of the database has left."""
    with closing(connection.copy()) as session:
        return abandoned_databases(session, of=server.name)


def nothing_left(server: Database, journal: Path) -> None:
    """Assert that no restore has left a scratch database, a file or a collection. ``journal`` is in a folder with the backups only."""
    assert left_over(server) == []
    assert {path.name for path in journal.parent.iterdir()} <= {"restore.json.lock", "backups", "key", "workers.log"}
    with qdrant() as client:
        names = {one.name for one in client.get_collections().collections}
    assert {name for name in names if name.startswith(collection_name())} == set(registry.write_targets())
