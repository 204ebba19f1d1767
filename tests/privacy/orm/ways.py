"""Every way of the ORM to write rows from objects in memory. ``test_ways.py`` compares the list with Django's methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync
from django.core import serializers
from django.core.serializers.base import DeserializedObject
from django.db.models import Model
from django.db.models.constants import OnConflict
from django.db.models.manager import BaseManager

Objects = Sequence[Any]


class Calls:
    """Call methods of Django, or their asynchronous variants, and record each with the names of the given parameters."""

    def __init__(self, *, is_async: bool = False) -> None:
        self.is_async = is_async
        self.made: set[tuple[str, str, str]] = set()

    def __call__(self, target: object, name: str, *args: Any, **options: Any) -> Any:
        called = f"a{name}" if self.is_async and hasattr(target, f"a{name}") else name
        method = getattr(target, called)
        given = inspect.signature(method).bind(*args, **options).arguments
        self.made |= {(owner_of(target), called, parameter) for parameter in ("", *given)}
        if called == name:
            return method(*args, **options)

        async def run() -> Any:
            return await method(*args, **options)

        return async_to_sync(run)()


def owner_of(target: object) -> str:
    if isinstance(target, DeserializedObject):
        return "DeserializedObject"
    if isinstance(target, Model):
        return "Model"
    return "RelatedManager" if isinstance(target, BaseManager) and hasattr(target, "core_filters") else "QuerySet"


def columns(model: type[Model], *, key: bool = False) -> list[Any]:
    """Return the writable fields, with or without the primary key."""
    return [field for field in model._meta.concrete_fields if key or not field.primary_key]


def names(one: Model) -> list[str]:
    return [field.name for field in columns(type(one))]


def values(one: Model, *, key: bool = False) -> dict[str, Any]:
    return {field.attname: getattr(one, field.attname) for field in columns(type(one), key=key)}


def managers(one: Model) -> Iterator[Any]:
    """Yield the reverse managers that contain this object: ``user.videos`` for a video."""
    for field in one._meta.concrete_fields:
        relation: Any = field.remote_field
        if field.many_to_one and not relation.hidden:
            yield getattr(getattr(one, field.name), relation.get_accessor_name())


def base(objects: Objects) -> Any:
    return type(objects[0])._base_manager


def save(call: Calls, objects: Objects) -> None:
    for one in objects:
        call(one, "save")


def save_update_fields(call: Calls, objects: Objects) -> None:
    for one in objects:
        call(one, "save", update_fields=names(one))


def save_force_update(call: Calls, objects: Objects) -> None:
    for one in objects:
        call(one, "save", force_update=True)


def save_force_insert(call: Calls, objects: Objects) -> None:
    for one in objects:
        call(one, "save", force_insert=True)


def save_base(call: Calls, objects: Objects) -> None:
    for one in objects:
        call(one, "save_base")


def save_base_raw(call: Calls, objects: Objects) -> None:
    for one in objects:
        call(one, "save_base", raw=True)


def save_base_force_update(call: Calls, objects: Objects) -> None:
    for one in objects:
        call(one, "save_base", force_update=True, update_fields=names(one))


def save_base_force_insert(call: Calls, objects: Objects) -> None:
    for one in objects:
        call(one, "save_base", force_insert=True)


def create(call: Calls, objects: Objects) -> None:
    for one in objects:
        call(base(objects), "create", **values(one, key=True))


def get_or_create(call: Calls, objects: Objects) -> None:
    for one in objects:
        call(base(objects), "get_or_create", pk=one.pk, defaults=values(one))


def update_or_create(call: Calls, objects: Objects) -> None:
    for one in objects:
        call(base(objects), "update_or_create", pk=one.pk, defaults=values(one))


def update_or_create_defaults(call: Calls, objects: Objects) -> None:
    for one in objects:
        call(base(objects), "update_or_create", pk=one.pk, defaults={}, create_defaults=values(one))


def bulk_create(call: Calls, objects: Objects) -> None:
    call(base(objects), "bulk_create", list(objects))


def bulk_create_ignore_conflicts(call: Calls, objects: Objects) -> None:
    call(base(objects), "bulk_create", list(objects), ignore_conflicts=True)


def bulk_create_update_conflicts(call: Calls, objects: Objects) -> None:
    key = type(objects[0])._meta.pk.name
    call(base(objects), "bulk_create", list(objects), update_conflicts=True, unique_fields=[key], update_fields=names(objects[0]))


def bulk_update(call: Calls, objects: Objects) -> int:
    return int(call(base(objects), "bulk_update", list(objects), names(objects[0])))


def update(call: Calls, objects: Objects) -> int:
    return sum(call(base(objects).filter(pk=one.pk), "update", **values(one)) for one in objects)


def private_update(call: Calls, objects: Objects) -> int:
    """``QuerySet._update``, which ``save`` uses."""
    return sum(
        call(base(objects).filter(pk=one.pk), "_update", [(field, None, getattr(one, field.attname)) for field in columns(type(one))])
        for one in objects
    )


def private_insert(call: Calls, objects: Objects) -> None:
    """``QuerySet._insert``, which ``save`` and ``bulk_create`` use."""
    call(base(objects), "_insert", list(objects), columns(type(objects[0]), key=True), raw=True)


def private_upsert(call: Calls, objects: Objects) -> None:
    model = type(objects[0])
    call(
        base(objects),
        "_insert",
        list(objects),
        columns(model, key=True),
        on_conflict=OnConflict.UPDATE,
        update_fields=columns(model),
        unique_fields=[model._meta.pk],
    )


def deserialized(call: Calls, objects: Objects) -> None:
    for one in serializers.deserialize("json", serializers.serialize("json", objects)):
        call(one, "save")


def deserialized_deferred(call: Calls, objects: Objects) -> None:
    for one in serializers.deserialize("jsonl", serializers.serialize("jsonl", objects)):
        one.deferred_fields = {}
        call(one, "save_deferred_fields")


def related_create(call: Calls, objects: Objects) -> None:
    for one in objects:
        manager = next(managers(one))
        call(manager, "create", pk=one.pk, **_without_parent(one, manager))


def related_get_or_create(call: Calls, objects: Objects) -> None:
    for one in objects:
        manager = next(managers(one))
        call(manager, "get_or_create", pk=one.pk, defaults=_without_parent(one, manager))


def related_update_or_create(call: Calls, objects: Objects) -> None:
    for one in objects:
        for manager in managers(one):
            call(manager, "update_or_create", pk=one.pk, defaults=_without_parent(one, manager))


def related_add(call: Calls, objects: Objects) -> None:
    """Update the foreign key only."""
    for one in objects:
        for manager in managers(one):
            call(manager, "add", one, bulk=True)


def related_add_saved(call: Calls, objects: Objects) -> None:
    for one in objects:
        call(next(managers(one)), "add", one, bulk=False)


def related_set(call: Calls, objects: Objects) -> None:
    for one in objects:
        for manager in managers(one):
            call(manager, "set", [one], bulk=True, clear=True)


def related_set_saved(call: Calls, objects: Objects) -> None:
    for one in objects:
        call(next(managers(one)), "set", [one], bulk=False)


def _without_parent(one: Model, manager: Any) -> dict[str, Any]:
    return {name: value for name, value in values(one).items() if name != manager.field.attname}


def create_user(call: Calls, objects: Objects) -> None:
    for one in objects:
        call(type(one).objects, "create_user", password=None, **_without_password(one))


def create_superuser(call: Calls, objects: Objects) -> None:
    for one in objects:
        call(type(one).objects, "create_superuser", password=None, **_without_password(one))


def _without_password(one: Model) -> dict[str, Any]:
    return {name: value for name, value in values(one, key=True).items() if name not in ("password", "is_staff", "is_superuser")}


@dataclass(frozen=True, slots=True)
class Way:
    """A way of writing: whether it overwrites a row, inserts one, and goes through the object of the user or match."""

    write: Callable[[Calls, Objects], int | None]
    updates: bool = False
    inserts: bool = False
    related: bool = False
    moves: bool = False
    """It writes only the foreign key."""
    manager: str = ""
    """Method of the model's own manager that this way needs."""

    @property
    def name(self) -> str:
        return self.write.__name__

    def works_for(self, one: Model) -> bool:
        if self.manager:
            return hasattr(type(one)._default_manager, self.manager)
        return not self.related or next(managers(one), None) is not None


WAYS = (
    *(Way(write, updates=True) for write in (save_update_fields, save_force_update, save_base_force_update, bulk_update, update, private_update)),
    *(Way(write, inserts=True) for write in (save_force_insert, save_base_force_insert, create, get_or_create, update_or_create_defaults)),
    *(Way(write, inserts=True) for write in (bulk_create, bulk_create_ignore_conflicts, private_insert)),
    *(Way(write, updates=True, inserts=True) for write in (save, save_base, save_base_raw, update_or_create, bulk_create_update_conflicts)),
    *(Way(write, updates=True, inserts=True) for write in (private_upsert, deserialized, deserialized_deferred)),
    *(Way(write, inserts=True, related=True) for write in (related_create, related_get_or_create)),
    *(Way(write, updates=True, inserts=True, related=True) for write in (related_update_or_create, related_add_saved, related_set_saved)),
    *(Way(write, related=True, moves=True) for write in (related_add, related_set)),
    *(Way(write, inserts=True, manager=write.__name__) for write in (create_user, create_superuser)),
)  # fmt: skip
DELETING = frozenset({"delete", "_raw_delete", "remove", "clear", "_clear"})
"""Methods that write no data."""
