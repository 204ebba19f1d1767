"""Apply a plan: create or change the collection. All requests use REST, which was tested. The embedded store supports only a part."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.functions import TransactionNow
from qdrant_client import QdrantClient
from qdrant_client.models import (
    CreateCollection,
    CreateFieldIndex,
    UpdateCollection,
    VectorParams,
)

from findme.core.version import __version__
from vectorstore.catalog import registry
from vectorstore.catalog.alias import point_alias
from vectorstore.catalog.cluster import create_missing_replicas
from vectorstore.catalog.ownership import DATABASE, check_owner, database_id, metadata_of
from vectorstore.consistency import checkpoint
from vectorstore.consistency.deletions import note_deletion_time
from vectorstore.models import VectorCollection
from vectorstore.qdrant.connection import is_embedded
from vectorstore.queue.entries import enqueue_everyone, enqueue_orphan_scan
from vectorstore.queue.transactions import short_transaction
from vectorstore.schema.definition import DEFINITION, plain
from vectorstore.schema.diff import lost
from vectorstore.schema.plan import Plan, plan


def apply(client: QdrantClient, planned: Plan) -> None:
    """Create or change the collection, then its indexes, then register it. The alias comes last, so no search sees a half-made collection.

    After a kill in between, the next plan contains what remains. The caller has refused the changes that need an operator.
    """
    new = planned.differs("collection ")
    if new:
        make(client, planned.collection)
    else:
        if planned.collection not in planned.live.rows:
            # It may have points. Without a row as live, an idle worker would treat it as never created and drop it.
            register_as_live(client, planned.collection, new=False)
        _change(client, planned)
    _remove_lost_rows(planned)
    if planned.differs("noted ") or new:
        register_as_live(client, planned.collection, new=new)
    if planned.differs("alias "):
        point_alias(client, planned.collection)


def make(client: QdrantClient, collection: str) -> None:
    """Create an empty collection by the definition, without an alias. No worker writes it yet.

    Its row is committed first and says that the collection is not created yet. A kill leaves no collection that the registry does not know.
    """
    registry.reserve(collection, DEFINITION.hash())
    VectorCollection.objects.filter(name=collection).update(defined_at=TransactionNow())
    metadata = metadata_of(VectorCollection.objects.get(name=collection))
    if is_embedded():
        vectors = VectorParams(size=DEFINITION.size, distance=DEFINITION.distance)
        client.create_collection(collection, vectors_config=vectors, metadata=metadata)
        return
    request = CreateCollection.model_validate(_creation() | {"metadata": metadata})
    client.http.collections_api.create_collection(collection, create_collection=request)
    for field in DEFINITION.payload_indexes:
        _index(client, collection, field)


def register_as_live(client: QdrantClient, collection: str, *, new: bool, is_adoption: bool = False) -> None:
    """Register the collection as live, so that workers write it.

    All users are enqueued if it was not written before or with ``is_adoption``. Unless it is ``new``, a scan for orphans is enqueued too, in the
    same transaction.
    """
    with short_transaction():
        row = registry.rows().select_for_update().filter(name=collection).first()
        if row is None or row.state == registry.State.FAILED or new or is_adoption:
            registry.rows().filter(state=registry.State.LIVE).exclude(name=collection).update(state=registry.State.RETAINED)
            registry.register(collection, registry.State.LIVE, DEFINITION.hash())
            enqueue_everyone()
            if not new:
                enqueue_orphan_scan()
                # The time of the last deletion is unknown.
                note_deletion_time()
        else:
            registry.reconcile(collection)
    checkpoint.write_checkpoint(client, collection)


def register_for_rebuild(client: QdrantClient) -> None:
    """Register a live collection without a row or an alias that needs a rebuild. It is written and searched until then.

    ``init_qdrant`` registers all others. Raises ForeignCollection. After a kill the next plan contains what remains.
    """
    planned = plan(client)
    if not planned.rebuilt or (planned.live.alias_of is not None and planned.collection in planned.live.rows):
        return
    check_owner(client, planned.collection)
    if planned.live.rows.get(planned.collection) is None:
        client.update_collection(planned.collection, metadata={DATABASE: database_id()})
    _remove_lost_rows(planned)
    register_as_live(client, planned.collection, new=False)
    if planned.differs("alias "):
        point_alias(client, planned.collection)


def _remove_lost_rows(planned: Plan) -> None:
    for name in lost(planned.live):
        VectorCollection.objects.filter(name=name).delete()


def _creation() -> dict[str, Any]:
    """Return the request that creates the collection: all defined settings with a value.

    Settings that requests or older servers do not know are left out. The collection has their defined values by default.
    """
    values = {
        setting.path: setting.value for setting in DEFINITION.settings if setting.value is not None and not setting.path.endswith(".memory")
    }
    tree = _tree(values)
    parameters = tree.pop("params")
    parameters = {name: value for name, value in parameters.items() if not name.startswith("read_fan_out") and name != "sharding_method"}
    return _with_request_names(tree) | parameters


def _change(client: QdrantClient, planned: Plan) -> None:
    collection = planned.collection
    if planned.differs("metadata.") or planned.differs(f"noted {collection!r}.definition_hash") or _settings_that_differ(planned):
        _record_definition(collection)
    if _settings_that_differ(planned):
        request = UpdateCollection.model_validate(_update(planned))
        client.http.collections_api.update_collection(collection, update_collection=request)
    for difference in planned.differences:
        if difference.what.startswith("payload_schema."):
            _index(client, collection, difference.what.removeprefix("payload_schema."))
    if planned.differs("replicas ") or planned.differs("params.replication_factor"):
        create_missing_replicas(client, collection)
    row = VectorCollection.objects.filter(name=collection).first()
    if row is not None:
        client.update_collection(collection, metadata=metadata_of(row))


def _record_definition(collection: str) -> None:
    """Record the definition before the collection is changed. After a kill the next plan, which reads the collection, finds the rest."""
    row = VectorCollection.objects.filter(name=collection)
    row.update(definition_hash=DEFINITION.hash(), app_version=__version__, defined_at=TransactionNow())


def _settings_that_differ(planned: Plan) -> set[str]:
    defined = {setting.path for setting in DEFINITION.settings}
    return {one.what for one in planned.differences if one.what in defined}


def _update(planned: Plan) -> dict[str, Any]:
    """Return the request that changes what differs, and nothing else.

    Qdrant treats null as "no change", so quantization is removed by "Disabled".
    """
    differing = _settings_that_differ(planned)
    values = {setting.path: setting.value for setting in DEFINITION.settings if setting.path in differing}
    values = {path: "Disabled" if path.endswith("quantization_config") and value is None else value for path, value in values.items()}
    tree = _with_request_names(_tree(values))
    vectors = tree.get("params", {}).pop("vectors", {})
    own = planned.live.found.config.params.vectors if planned.live.found else None
    if "hnsw_config" in tree and isinstance(own, VectorParams) and own.hnsw_config:
        # A vector's own graph settings override the collection's. If the vector has some, set them as well.
        vectors["hnsw_config"] = tree["hnsw_config"]
    return tree | ({"vectors": {"": vectors}} if vectors else {})


def _tree(values: dict[str, Any]) -> dict[str, Any]:
    """Return a nested dict from dotted paths."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *parents, name = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree


def _with_request_names(tree: dict[str, Any]) -> dict[str, Any]:
    """Rename the one setting whose name is plural in requests and singular in answers."""
    return {"optimizers_config" if name == "optimizer_config" else name: value for name, value in tree.items()}


def _index(client: QdrantClient, collection: str, field: str) -> None:
    """Create, replace or delete the payload index."""
    defined = DEFINITION.payload_indexes.get(field)
    if defined is None:
        client.delete_payload_index(collection, field, wait=True)
        return
    request = CreateFieldIndex.model_validate({"field_name": field, "field_schema": _schema(defined)})
    client.http.indexes_api.create_field_index(collection, wait=True, create_field_index=request)


def _schema(defined: Any) -> Any:
    """Return the request's schema: only the type's name if there are no parameters, as the guide's program sends it."""
    parameters = plain(defined)
    return parameters["type"] if parameters.keys() == {"type"} else dict(defined)
