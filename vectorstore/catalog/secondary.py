"""Secondary collections: one that fails is marked as failed, and holds nobody up (protocol, rule 10)."""

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
"""In a row: so often a collection may not answer in time right after the live one did. Once may be a server that goes away just then."""

_consecutive_timeouts: Counter[tuple[str, str]] = Counter()
"""By collection, and by what is done with it: one that is read and takes no writes does not answer either."""


@contextmanager
def fail_secondary_on_error(collection: str, *, doing: str = "writing") -> Iterator[None]:
    """For what is sent after the live collection has answered: an error is the collection's fault, and so is silence again and again at what one
    is DOING. A collection that is searched meanwhile is no longer marked as failed: the error stays one."""
    key = (collection, doing)
    try:
        yield
    except (CollectionNotFound, RequestRejected, ServerError) as error:
        fail_secondary(collection, error)
    except RestoreDetected:  # which is no fault of the collection's
        raise
    except StoreUnavailable as error:
        _consecutive_timeouts[key] += 1
        if _consecutive_timeouts[key] < MAX_CONSECUTIVE_TIMEOUTS:
            raise
        fail_secondary(collection, error)
    else:
        _consecutive_timeouts.pop(key, None)


def fail_secondary(collection: str, error: Exception) -> None:
    """Nobody writes the collection any more, for an error that was its own fault. Raises StoreUnavailable where it is to be written all the same, since
    it has just become the live one, or is about to."""
    for key in [key for key in _consecutive_timeouts if key[0] == collection]:
        del _consecutive_timeouts[key]
    why = one_line(error)
    if not (registry.mark_failed(collection, why) or _fail_ready(collection, why)) and collection in registry.write_targets():
        # A move of the alias may be under way, so the worker tries again: this is nothing that only a person can mend.
        is_retried = isinstance(error, StoreUnavailable) and not error.needs_operator
        raise error if is_retried else StoreUnavailable(why) from error


def _fail_ready(collection: str, why: str) -> bool:
    """Mark as failed one that was proven whole, and that nobody brought to be searched: unless somebody is just about to, or has and did not write it down."""
    if not registry.is_ready(collection) or not advisory_lock().try_acquire():
        return False
    try:
        with qdrant() as client:
            return alias_target(client) != collection and registry.mark_failed(collection, why, include_ready=True)
    finally:
        advisory_lock().release()


@contextmanager
def tolerate_secondary_failure(live: str | None, name: str, *, doing: str) -> Iterator[None]:
    """For what is asked of the collection NAME, with Qdrant's errors told. A secondary collection may not be made yet, or be just dropped, and is
    passed over; where it fails it is marked as failed, if the live one has answered just before."""
    if name == live:
        with qdrant():
            yield
        return
    handling = nullcontext() if live is None else fail_secondary_on_error(name, doing=doing)
    with handling, suppress(CollectionNotFound), qdrant():
        yield
