"""Collections beside the live one: one that fails is given up, and holds nobody up (protocol, rule 10)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from findme.console.errors import StoreUnavailable, one_line
from vectorstore import registry
from vectorstore.errors import CollectionMissing, Refused, ServerFailed

TIMES_SILENT = 5
"""In a row: so often a collection may not answer in time right after the live one did. Once may be a server that goes away just then."""

_silent: Counter[str] = Counter()


@contextmanager
def given_up_where_it_fails(collection: str) -> Iterator[None]:
    """For what is sent after the live collection has answered: an error is the collection's fault, and so is silence again and again. A
    collection that is searched meanwhile is no longer given up: the error stays one."""
    try:
        yield
    except (CollectionMissing, Refused, ServerFailed) as error:
        _give_up(collection, error)
    except StoreUnavailable as error:
        _silent[collection] += 1
        if _silent[collection] < TIMES_SILENT:
            raise
        _give_up(collection, error)
    else:
        _silent.pop(collection, None)


def _give_up(collection: str, error: Exception) -> None:
    """In the handler of the error, which goes on where the collection is still to be written."""
    _silent.pop(collection, None)
    if not registry.fail(collection, one_line(error)) and collection in registry.written():
        raise error
