"""Checks of the fields of stores outside PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.core.checks import Error

from privacy.registry import Store


def errors_of_stores(stores: Iterable[Store]) -> Iterator[Error]:
    """Yield E009 for each field that a store has and does not declare, or declares twice or without having it."""
    for store in stores:
        declared = [name for part in store.data for name in part.fields]
        for names, problem in (
            (store.stored_fields() - set(declared), "has fields without a declaration"),
            (set(declared) - store.stored_fields(), "declares fields that it does not have"),
            ({name for name in declared if declared.count(name) > 1}, "declares fields twice"),
        ):
            if names:
                yield Error(
                    f"The {store.name} {problem}: {', '.join(sorted(names))}.",
                    hint=f"Correct the data of {type(store).__module__}.{type(store).__qualname__}.",
                    id="privacy.E009",
                )
