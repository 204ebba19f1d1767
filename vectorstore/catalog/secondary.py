"""Errors of secondary collections, which are marked as failed and never block the live one (protocol rule 10)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

from findme.core.errors import StoreUnavailable, one_line
from vectorstore.catalog import registry
from vectorstore.catalog.alias import alias_target
from vectorstore.catalog.lock import advisory_lock
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.errors import CollectionNotFound, RequestRejected, RestoreDetected, ServerError

MAX_CONSECUTIVE_TIMEOUTS = 5
"""A secondary collection fails after this number of timeouts in a row, each after an answer of the live one.

A single timeout may mean that the whole server has just become unavailable.
"""

_consecutive_timeouts: Counter[tuple[str, str]] = Counter()
"""Timeouts by collection and operation, because a collection may answer reads and not writes."""


@contextmanager
def fail_secondary_on_error(collection: str, *, doing: str = "writing") -> Iterator[None]:
    """Mark ``collection`` as failed if the block raises an error of the collection itself, or times out repeatedly at ``doing``.

    Use it for a request that follows an answer of the live collection. If ``collection`` has become live in the meantime, the error is raised.
    """
    key = (collection, doing)
    try:
        yield
    except (CollectionNotFound, RequestRejected, ServerError) as error:
        fail_secondary(collection, error)
    except RestoreDetected:
        # Not an error of the collection itself.
        raise
    except StoreUnavailable as error:
        _consecutive_timeouts[key] += 1
        if _consecutive_timeouts[key] < MAX_CONSECUTIVE_TIMEOUTS:
            raise
        fail_secondary(collection, error)
    else:
        _consecutive_timeouts.pop(key, None)


def fail_secondary(collection: str, error: Exception) -> None:
    """Mark the collection as failed because of its own error, so that workers stop writing it.

    Raise StoreUnavailable if it must still be written, because it has just become live or is about to.
    """
    for key in [key for key in _consecutive_timeouts if key[0] == collection]:
        del _consecutive_timeouts[key]
    why = one_line(error)
    if not (registry.mark_failed(collection, why) or _fail_ready(collection, why)) and collection in registry.write_targets():
        # A move of the alias may be under way, so the worker tries again: this is nothing that only a person can mend.
        is_retried = isinstance(error, StoreUnavailable) and not error.needs_operator
        raise error if is_retried else StoreUnavailable(why) from error


def _fail_ready(collection: str, why: str) -> bool:
    """Mark a ready collection as failed, and return whether its state changed.

    Do nothing if another process may be moving the alias, or if the alias already points to the collection.
    """
    if not registry.is_ready(collection) or not advisory_lock().try_acquire():
        return False
    try:
        with qdrant() as client:
            return alias_target(client) != collection and registry.mark_failed(collection, why, include_ready=True)
    finally:
        advisory_lock().release()


@contextmanager
def tolerate_secondary_failure(live: str | None, name: str, *, doing: str) -> Iterator[None]:
    """Run a request against the collection ``name`` and translate Qdrant's errors.

    A secondary collection that does not exist is skipped. One that answers with an error, or times out five times in a row, is marked as failed.
    Query the live collection first: its answer shows that the server itself works.
    """
    if name == live:
        with qdrant():
            yield
        return
    handling = nullcontext() if live is None else fail_secondary_on_error(name, doing=doing)
    with handling, suppress(CollectionNotFound), qdrant():
        yield
