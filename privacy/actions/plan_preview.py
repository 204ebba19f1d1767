"""What an erasure would do now, for the officer who approves it: by table, by prefix of the files and by collection, and what stays and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user_model

from findme.core.errors import StoreUnavailable
from privacy.actions.erase_files import stored_files
from privacy.actions.held_rows import files_of_rows, rows_of
from privacy.actions.holds import active_holds, describe
from privacy.actions.plan import KEPT_ELSEWHERE, plan_erasure
from privacy.declarations import Disposition
from privacy.file_stores.addresses import prefix_of
from privacy.registry import Effect, Store, registry


def preview_plan(user_id: UUID) -> list[Effect]:
    """Return the plan with its counts. An approval must not depend on a store, so a store that is unavailable has an unknown count."""
    effects = [*_tables(user_id), *_files(user_id)]
    for store in registry.stores:
        effects += _places(store, user_id)
    return effects


def _tables(user_id: UUID) -> Iterator[Effect]:
    counts = plan_erasure(user_id).counts
    holds = active_holds(user_id)
    held = _count_held(user_id) if holds else Counter()
    reason = "; ".join(map(describe, holds))
    users = get_user_model()._meta.db_table
    for name, count in counts.items():
        disposition, _, table = name.partition(".")
        if disposition not in (Disposition.DELETED, Disposition.CLEARED, Disposition.KEPT) or not count:
            continue
        if holds and table == users:
            yield Effect(f"{table} (the row stays without the data: {reason})", count, Disposition.CLEARED)
        elif disposition == Disposition.DELETED and held[table]:
            yield Effect(table, count - held[table], Disposition.DELETED)
            yield Effect(f"{table} ({reason})", held[table], Disposition.HELD)
        else:
            yield Effect(table, count, Disposition(disposition))
    if KEPT_ELSEWHERE in counts:
        yield Effect("files that no store of FILE_STORES has", counts[KEPT_ELSEWHERE], Disposition.KEPT)


def _count_held(user_id: UUID) -> Counter[str]:
    return Counter(
        {rows.model._meta.db_table: rows.filter(kept).count() for owner in registry.owners for rows, kept in rows_of(owner, user_id)}
    )


def _files(user_id: UUID) -> Iterator[Effect]:
    """Count the addresses. A store is not asked whether it has the files."""
    found = Counter(prefix_of(address, settings.FILE_STORES) for address, _ in stored_files(user_id))
    for prefix, count in sorted(found.items()):
        yield Effect(f"files below {prefix}", count, Disposition.DELETED)
    held = (
        {address for owner in registry.owners for address in files_of_rows(owner, user_id, is_held=True)}
        if active_holds(user_id)
        else set()
    )
    if held:
        yield Effect("files of held rows", len(held), Disposition.HELD)


def _places(store: Store, user_id: UUID) -> list[Effect]:
    try:
        with store.session():
            places = store.places(user_id)
    except StoreUnavailable:
        return [Effect(f"{store.contents}, which does not answer", None, Disposition.DELETED)]
    return [Effect(f"{store.contents}, in {place}", count, Disposition.DELETED) for place, count in sorted(places.items())] or [
        Effect(store.contents, 0, Disposition.DELETED)
    ]
