from uuid import UUID

import django.contrib.postgres.functions
from django.db import migrations, models

import findme.core.db.expressions
from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [
        ("vectorstore", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="QuarantinedUser",
            fields=[
                ("user_id", models.UUIDField(primary_key=True, serialize=False)),
                ("reason", models.TextField()),
                ("collection", models.TextField()),
                ("quarantined_at", models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False)),
            ],
            options={
                "verbose_name": "quarantined user",
                "verbose_name_plural": "quarantined users",
                "permissions": [("retry_quarantined", "Can retry quarantined users")],
                "db_table": "vector_sync_quarantine",
            },
        ),
        migrations.CreateModel(
            name="SyncWorker",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("host", models.TextField()),
                ("pid", models.IntegerField()),
                ("started_at", models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False)),
                ("heartbeat_at", models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow())),
                ("sleeping_until", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "vector_sync_workers",
            },
        ),
        migrations.CreateModel(
            name="QueueEntry",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("user_id", models.UUIDField(null=True)),
                ("urgent", models.BooleanField(db_default=False, default=False)),
                ("queued_at", models.DateTimeField(db_default=findme.core.db.expressions.ClockTimestamp(), editable=False)),
                ("not_before", models.DateTimeField(null=True)),
                ("awaits_ack", models.BooleanField(db_default=False, default=False)),
            ],
            options={
                "verbose_name_plural": "queue entries",
                "db_table": "vector_sync_queue",
                "indexes": [
                    models.Index(fields=["user_id"], name="vector_sync_queue_user_idx"),
                    models.Index(condition=models.Q(("urgent", True)), fields=["id"], name="vector_sync_queue_urgent_idx"),
                    models.Index(condition=models.Q(("awaits_ack", True)), fields=["queued_at"], name="vector_sync_queue_awaiting_idx"),
                ],
            },
        ),
        migrations.CreateModel(
            name="StoreState",
            fields=[
                ("id", models.SmallIntegerField(db_default=models.Value(1), default=1, primary_key=True, serialize=False)),
                ("database_id", models.UUIDField(db_default=django.contrib.postgres.functions.RandomUUID(), editable=False)),
                ("checkpoint", models.JSONField(null=True)),
                ("pending_checkpoint", models.JSONField(null=True)),
                ("checkpoint_at", models.DateTimeField(null=True)),
                ("ages_refreshed_on", models.DateField(null=True)),
                ("ages_last_entry_id", models.BigIntegerField(null=True)),
                ("ages_valid_on", models.DateField(null=True)),
                ("saved_settings", models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict)),
                ("downloads", models.JSONField(db_default=models.Value([], models.JSONField()), default=list)),
            ],
            options={
                "db_table": "vector_store_state",
                "constraints": [models.CheckConstraint(condition=models.Q(("id", 1)), name="vector_store_state_one_row_check")],
            },
        ),
        migrations.CreateModel(
            name="SyncLease",
            fields=[
                ("user_id", models.UUIDField(primary_key=True, serialize=False)),
                ("worker_id", models.UUIDField()),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "db_table": "vector_sync_leases",
                "indexes": [models.Index(fields=["worker_id"], name="vector_sync_leases_worker_idx")],
            },
        ),
        migrations.CreateModel(
            name="VectorCollection",
            fields=[
                ("name", models.CharField(max_length=255, primary_key=True, serialize=False)),
                ("alias", models.CharField(max_length=255)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("building", "Building"),
                            ("ready", "Ready"),
                            ("live", "Live"),
                            ("retained", "Retained"),
                            ("failed", "Failed"),
                        ],
                        max_length=20,
                    ),
                ),
                ("definition_hash", models.CharField(help_text="SHA-256 of its definition", max_length=64)),
                ("app_version", models.CharField(help_text="The version of FindMe that defined it", max_length=50)),
                ("defined_at", models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow())),
                ("created_at", models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False)),
                ("live_since", models.DateTimeField(null=True)),
                ("retain_until", models.DateTimeField(null=True)),
                ("failure_reason", models.TextField(db_default="", default="")),
            ],
            options={
                "db_table": "vector_collections",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["building", "ready", "live", "retained", "failed"])),
                        name="vector_collections_state_check",
                    ),
                    models.UniqueConstraint(condition=models.Q(("state", "live")), fields=("alias",), name="vector_collections_live_key"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Verification",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("alias", models.CharField(max_length=255)),
                ("started_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False)),
                ("result", models.JSONField()),
            ],
            options={
                "db_table": "vector_verifications",
                "indexes": [models.Index(fields=["alias", "-finished_at"], name="vector_verifications_last_idx")],
            },
        ),
        migrations.AddConstraint(
            model_name="profileembedding",
            constraint=models.CheckConstraint(
                condition=models.Q(("user", UUID("00000000-0000-0000-0000-000000000000")), _negated=True),
                name="profile_embeddings_user_id_check",
                violation_error_message="The UUID of zeros is not a user's id.",
            ),
        ),
        sql_file("0002_triggers"),
        sql_file("0002_capture"),
    ]
