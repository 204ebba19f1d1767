"""A ledger of erasures for one benchmark, in a temporary folder, with keys of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from django.conf import settings

BATCH = 1000


@contextmanager
def scratch_ledger() -> Iterator[Path]:
    """Create the folder, which has the ledger and its keys, and use it. Yield it."""
    with tempfile.TemporaryDirectory(prefix="findme-benchmark-") as folder:
        use_ledger(Path(folder))
        yield Path(folder)


def use_ledger(folder: Path) -> None:
    """Use the ledger and the keys in the folder, and create what is missing."""
    from privacy.ledger.keys import create_keys
    from privacy.ledger.signing import create_signing_key

    ledger, keys, key = folder / "ledger", folder / "keys.json", folder / "signing.pem"
    settings.ERASURE_LEDGER_URL, settings.ERASURE_LEDGER_KEYS, settings.PRIVACY_SIGNING_KEY = str(ledger), str(keys), str(key)
    if not ledger.exists():
        ledger.mkdir()
        create_keys(keys)
        create_signing_key(key)


def record_erasures(user_ids: Sequence[UUID]) -> None:
    """Record an erasure of each user in both copies of the ledger."""
    from privacy.ledger.book import NewEntry
    from privacy.ledger.entry import Kind
    from privacy.ledger.publication import record_entries

    for first in range(0, len(user_ids), BATCH):
        record_entries([NewEntry(Kind.ERASE, user_id, {"profile": 1}) for user_id in user_ids[first : first + BATCH]])
