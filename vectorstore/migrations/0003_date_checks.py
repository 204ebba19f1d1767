from django.db import migrations

from findme.core.db.checks import AddChecks
from findme.core.db.dates import supported_dates


class Migration(migrations.Migration):
    dependencies = [("vectorstore", "0002_capture")]

    operations = [
        # The day that means "never" was 9999-12-31, which is out of range.
        migrations.RunSQL(
            "UPDATE vector_store_state SET ages_refreshed_on = '9999-12-30' WHERE ages_refreshed_on = '9999-12-31'",
            "UPDATE vector_store_state SET ages_refreshed_on = '9999-12-31' WHERE ages_refreshed_on = '9999-12-30'",
        ),
        AddChecks("ProfileEmbedding", supported_dates("profile_embeddings", "created_at", "updated_at")),
        AddChecks("QueueEntry", supported_dates("vector_sync_queue", "queued_at", "not_before")),
        AddChecks("SyncLease", supported_dates("vector_sync_leases", "expires_at")),
        AddChecks("SyncWorker", supported_dates("vector_sync_workers", "started_at", "heartbeat_at", "sleeping_until")),
        AddChecks("QuarantinedUser", supported_dates("vector_sync_quarantine", "quarantined_at")),
        AddChecks("VectorCollection", supported_dates("vector_collections", "defined_at", "created_at", "live_since", "retain_until")),
        AddChecks("StoreState", supported_dates("vector_store_state", "checkpoint_at", "ages_refreshed_on", "ages_valid_on")),
        AddChecks("Verification", supported_dates("vector_verifications", "started_at", "finished_at")),
    ]
