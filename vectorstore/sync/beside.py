"""Collections beside the live one: one that fails is given up, and holds nobody up (protocol, rule 10)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from findme.console.errors import StoreUnavailable, one_line
from vectorstore import registry
from vectorstore.errors import CollectionMissing, Refused, ServerFailed, StoreWentBack

TIMES_SILENT = 5
"""In a row: so often a collection may not answer in time right after the live one did. Once may be a server that goes away just then."""

_silent: Counter[tuple[str, str]] = Counter()
"""By collection, and by what is done with it: one that is read and takes no writes does not answer either."""


@contextmanager
def given_up_where_it_fails(collection: str, *, doing: str = "writing") -> Iterator[None]:
    """For what is sent after the live collection has answered: an error is the collection's fault, and so is silence again and again at what one
    is DOING. A collection that is searched meanwhile is no longer given up: the error stays one."""
    key = (collection, doing)
    try:
        yield
    except (CollectionMissing, Refused, ServerFailed) as error:
        _give_up(collection, error)
    except StoreWentBack:  # which is no fault of the collection's
        raise
    except StoreUnavailable as error:
        _silent[key] += 1
        if _silent[key] < TIMES_SILENT:
            raise
        _give_up(collection, error)
    else:
        _silent.pop(key, None)


def _give_up(collection: str, error: Exception) -> None:
    """In the handler of the error, which goes on where the collection is still to be written."""
    for key in [key for key in _silent if key[0] == collection]:
        del _silent[key]
    if not registry.fail(collection, one_line(error)) and collection in registry.written():
        raise error
