import uuid

import django.contrib.postgres.functions
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import findme.core.db.constraints
from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("matching", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="VideoCall",
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
                ("session_id", models.CharField(max_length=255)),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                ("duration", models.IntegerField(blank=True, null=True)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("initiated", "Initiated"),
                            ("ringing", "Ringing"),
                            ("active", "Active"),
                            ("ended", "Ended"),
                            ("missed", "Missed"),
                            ("rejected", "Rejected"),
                        ],
                        db_default="initiated",
                        default="initiated",
                        max_length=50,
                    ),
                ),
                ("recording_url", models.CharField(blank=True, max_length=500, null=True)),
                ("quality_rating", models.IntegerField(blank=True, null=True)),
                ("metadata", models.JSONField(blank=True, db_default=models.Value({}, output_field=models.JSONField()), default=dict)),
                (
                    "callee",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="calls_received",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "caller",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="calls_made",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "match",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="calls",
                        to="matching.match",
                    ),
                ),
            ],
            options={
                "db_table": "video_calls",
                "indexes": [
                    models.Index(fields=["match"], name="idx_video_calls_match"),
                    models.Index(fields=["caller", "callee"], name="idx_video_calls_participants"),
                    models.Index(fields=["session_id"], name="idx_video_calls_session"),
                    models.Index(fields=["status"], name="idx_video_calls_status"),
                    models.Index(fields=["-created_at"], name="idx_video_calls_created_at"),
                    models.Index(fields=["callee"], name="idx_video_calls_callee_id"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("session_id",), name="video_calls_session_id_key", violation_error_message="Another call has this session."
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["initiated", "ringing", "active", "ended", "missed", "rejected"])),
                        name="video_calls_status_check",
                        violation_error_message="Unknown call status: choose one of the listed values.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("quality_rating__gte", 1), ("quality_rating__lte", 5)),
                        name="video_calls_quality_rating_check",
                        violation_error_message="A quality rating is a number from 1 to 5.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("duration__gte", 0)),
                        name="video_calls_duration_check",
                        violation_error_message="A duration must be 0 seconds or more.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("ended_at__gt", models.F("started_at"))),
                        name="video_calls_ended_at_check",
                        violation_error_message="A call must end after it starts.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("status", "ended"), _negated=True),
                            models.Q(("ended_at__isnull", False), ("started_at__isnull", False)),
                            _connector="OR",
                        ),
                        name="video_calls_ended_times_check",
                        violation_error_message="An ended call needs a start time and an end time.",
                    ),
                    findme.core.db.constraints.ForeignKeyConstraint(
                        columns=["match_id"],
                        name="video_calls_match_id_fkey",
                        on_delete="CASCADE",
                        to_columns=["id"],
                        to_table="matches",
                    ),
                    findme.core.db.constraints.ForeignKeyConstraint(
                        columns=["caller_id"],
                        name="video_calls_caller_id_fkey",
                        on_delete="CASCADE",
                        to_columns=["id"],
                        to_table="users",
                    ),
                    findme.core.db.constraints.ForeignKeyConstraint(
                        columns=["callee_id"],
                        name="video_calls_callee_id_fkey",
                        on_delete="CASCADE",
                        to_columns=["id"],
                        to_table="users",
                    ),
                ],
            },
        ),
        sql_file("0001_users_of_match"),
    ]
