import uuid

import django.contrib.postgres.functions
import django.contrib.postgres.indexes
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import findme.core.db.constraints
from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Video",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=django.contrib.postgres.functions.RandomUUID(),
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False)),
                ("updated_at", models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False)),
                ("deleted_at", models.DateTimeField(blank=True, null=True)),
                ("storage_url", models.CharField(max_length=500)),
                ("thumbnail_url", models.CharField(blank=True, max_length=500, null=True)),
                ("duration", models.IntegerField()),
                ("file_size", models.BigIntegerField()),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("uploading", "Uploading"),
                            ("processing", "Processing"),
                            ("verifying", "Verifying"),
                            ("verified", "Verified"),
                            ("rejected", "Rejected"),
                            ("error", "Error"),
                        ],
                        db_default="processing",
                        default="processing",
                        max_length=50,
                    ),
                ),
                ("verification_score", models.FloatField(blank=True, null=True)),
                ("rejection_reason", models.TextField(blank=True, null=True)),
                ("metadata", models.JSONField(blank=True, db_default=models.Value({}, output_field=models.JSONField()), default=dict)),
                (
                    "user",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="videos",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "videos",
                "indexes": [
                    models.Index(condition=models.Q(("deleted_at__isnull", True)), fields=["user"], name="idx_videos_user_id"),
                    models.Index(condition=models.Q(("deleted_at__isnull", True)), fields=["status"], name="idx_videos_status"),
                    models.Index(fields=["-created_at"], name="idx_videos_created_at"),
                    django.contrib.postgres.indexes.GinIndex(fields=["metadata"], name="idx_videos_metadata"),
                    models.Index(fields=["user"], name="idx_videos_user_id_cascade"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("duration__gt", 0), ("duration__lte", 120)),
                        name="videos_duration_check",
                        violation_error_message="A video lasts from 1 to 120 seconds.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["uploading", "processing", "verifying", "verified", "rejected", "error"])),
                        name="videos_status_check",
                        violation_error_message="Unknown video status: choose one of the listed values.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("verification_score__gte", 0), ("verification_score__lte", 1)),
                        name="videos_verification_score_check",
                        violation_error_message="A verification score is a number from 0 to 1.",
                    ),
                    findme.core.db.constraints.ForeignKeyConstraint(
                        columns=["user_id"],
                        name="videos_user_id_fkey",
                        on_delete="CASCADE",
                        to_columns=["id"],
                        to_table="users",
                    ),
                ],
            },
        ),
        sql_file("0001_updated_at"),
    ]
