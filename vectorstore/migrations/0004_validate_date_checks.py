from django.db import migrations

from findme.core.db.checks import ValidateChecks


class Migration(migrations.Migration):
    """Validate the checks in a separate migration, so that the lock for adding them is released before the tables are read."""

    dependencies = [("vectorstore", "0003_date_checks")]

    operations = [
        ValidateChecks("ProfileEmbedding", ["profile_embeddings_created_at_range_check", "profile_embeddings_updated_at_range_check"]),
        ValidateChecks("QueueEntry", ["vector_sync_queue_queued_at_range_check", "vector_sync_queue_not_before_range_check"]),
        ValidateChecks("SyncLease", ["vector_sync_leases_expires_at_range_check"]),
        ValidateChecks(
            "SyncWorker",
            [
                "vector_sync_workers_started_at_range_check",
                "vector_sync_workers_heartbeat_at_range_check",
                "vector_sync_workers_sleeping_until_range_check",
            ],
        ),
        ValidateChecks("QuarantinedUser", ["vector_sync_quarantine_quarantined_at_range_check"]),
        ValidateChecks(
            "VectorCollection",
            [
                "vector_collections_defined_at_range_check",
                "vector_collections_created_at_range_check",
                "vector_collections_live_since_range_check",
                "vector_collections_retain_until_range_check",
            ],
        ),
        ValidateChecks(
            "StoreState",
            [
                "vector_store_state_checkpoint_at_range_check",
                "vector_store_state_ages_refreshed_on_range_check",
                "vector_store_state_ages_valid_on_range_check",
            ],
        ),
        ValidateChecks("Verification", ["vector_verifications_started_at_range_check", "vector_verifications_finished_at_range_check"]),
    ]
