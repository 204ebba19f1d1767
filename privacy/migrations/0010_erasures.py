import uuid

import django.contrib.postgres.functions
import django.db.models.deletion
from django.db import migrations, models

import findme.core.db.constraints
import findme.core.db.dates
import findme.core.db.expressions
from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [
        ("privacy", "0009_validate_audit_log_actions"),
    ]

    operations = [
        migrations.CreateModel(
            name="Erasure",
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
                ("user_id", models.UUIDField()),
                (
                    "state",
                    models.CharField(
                        choices=[("sealed", "Sealed"), ("erased", "Erased"), ("purged", "Purged"), ("stopped", "Stopped")],
                        db_default="sealed",
                        default="sealed",
                        max_length=10,
                    ),
                ),
                ("plan", models.JSONField()),
                ("plan_digest", models.BinaryField()),
                ("policy_version", models.IntegerField()),
                ("hid_user", models.BooleanField(db_default=False, default=False)),
                ("ledger_position", models.BigIntegerField(null=True)),
                ("sealed_at", models.DateTimeField(db_default=findme.core.db.expressions.ClockTimestamp(), editable=False)),
                ("erased_at", models.DateTimeField(null=True)),
                ("purged_at", models.DateTimeField(null=True)),
                ("stopped_at", models.DateTimeField(null=True)),
                (
                    "stop_reason",
                    models.CharField(
                        choices=[
                            ("plan_changed", "The plan has changed"),
                            ("too_old", "The plan is too old"),
                            ("request_closed", "The request was refused or withdrawn"),
                            ("failed", "Nothing was erased"),
                        ],
                        db_default="",
                        default="",
                        max_length=20,
                    ),
                ),
                (
                    "request",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="erasures",
                        to="privacy.datasubjectrequest",
                    ),
                ),
            ],
            options={
                "db_table": "erasures",
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["user_id"], name="erasures_user_id_idx"),
                    models.Index(fields=["request"], name="erasures_request_id_idx"),
                    models.Index(condition=models.Q(("state__in", ["sealed", "erased"])), fields=["sealed_at"], name="erasures_open_idx"),
                ],
                "constraints": [
                    findme.core.db.constraints.ForeignKeyConstraint(
                        columns=["request_id"],
                        name="erasures_request_id_fkey",
                        on_delete="CASCADE",
                        to_columns=["id"],
                        to_table="data_subject_requests",
                    ),
                    models.UniqueConstraint(condition=models.Q(("state", "sealed")), fields=("user_id",), name="erasures_sealed_key"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("erased_at__isnull", True), ("purged_at__isnull", True), ("state", "sealed"), ("stopped_at__isnull", True)
                            ),
                            models.Q(
                                ("erased_at__isnull", False), ("purged_at__isnull", True), ("state", "erased"), ("stopped_at__isnull", True)
                            ),
                            models.Q(
                                ("erased_at__isnull", False),
                                ("purged_at__isnull", False),
                                ("state", "purged"),
                                ("stopped_at__isnull", True),
                            ),
                            models.Q(
                                ("erased_at__isnull", True),
                                ("purged_at__isnull", True),
                                ("state", "stopped"),
                                ("stopped_at__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="erasures_state_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("stop_reason", ""), ("stopped_at__isnull", True)),
                            models.Q(
                                ("stop_reason__in", ["plan_changed", "too_old", "request_closed", "failed"]), ("stopped_at__isnull", False)
                            ),
                            _connector="OR",
                        ),
                        name="erasures_stop_reason_check",
                    ),
                    models.CheckConstraint(
                        condition=findme.core.db.expressions.HasCounts(
                            "plan",
                            names=(
                                "deleted\\.[a-z_][a-z0-9_]{0,62}",
                                "cleared\\.[a-z_][a-z0-9_]{0,62}",
                                "kept\\.[a-z_][a-z0-9_]{0,62}",
                                "store\\.(audit_log|calls|erasure|exports|files|log_ins|matches|profile|requests|snapshots|vector_import|vector_store|vector_sync|videos|other)",
                                "hold\\.(audit_log|calls|erasure|exports|files|log_ins|matches|profile|requests|snapshots|vector_import|vector_store|vector_sync|videos)\\.17_3_[a-e]",
                                "files_deleted",
                                "files_kept",
                                "backup_days",
                            ),
                        ),
                        name="erasures_plan_check",
                    ),
                    models.CheckConstraint(condition=findme.core.db.expressions.IsDigest("plan_digest"), name="erasures_plan_digest_check"),
                    models.CheckConstraint(condition=models.Q(("policy_version__gt", 0)), name="erasures_policy_version_check"),
                    models.CheckConstraint(condition=models.Q(("ledger_position__gt", 0)), name="erasures_ledger_position_check"),
                    findme.core.db.dates.SupportedDate(field="sealed_at", name="erasures_sealed_at_range_check"),
                    findme.core.db.dates.SupportedDate(field="erased_at", name="erasures_erased_at_range_check"),
                    findme.core.db.dates.SupportedDate(field="purged_at", name="erasures_purged_at_range_check"),
                    findme.core.db.dates.SupportedDate(field="stopped_at", name="erasures_stopped_at_range_check"),
                ],
            },
        ),
        migrations.CreateModel(
            name="ErasureStep",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "step",
                    models.CharField(
                        choices=[
                            ("exports", "Stored exports"),
                            ("files", "Files"),
                            ("log_ins", "Logins"),
                            ("sessions", "Sessions"),
                            ("rows", "Rows"),
                            ("admin_log", "Admin log"),
                            ("point", "Point"),
                            ("scan", "Scan of the stores"),
                            ("segments", "Bytes in the stores"),
                            ("snapshots", "Snapshots"),
                            ("backups", "Backups"),
                        ],
                        max_length=10,
                    ),
                ),
                ("done_at", models.DateTimeField(null=True)),
                ("checked_at", models.DateTimeField(null=True)),
                ("count", models.BigIntegerField(db_default=0, default=0)),
                (
                    "waits_for",
                    models.CharField(
                        choices=[
                            ("hold", "the end of a hold"),
                            ("lock", "another transaction"),
                            ("ledger", "the ledger outside"),
                            ("store", "a store that is unavailable"),
                            ("file_store", "a file store that is unavailable"),
                            ("finding", "a point that the scan has found"),
                            ("segments", "Qdrant, which has not rewritten its segments"),
                            ("write_log", "the write-ahead log of Qdrant"),
                            ("snapshots", "the deletion of older snapshots"),
                            ("retention", "the end of the retention of backups"),
                            ("setting", "the setting BACKUP_RETENTION_DAYS"),
                            ("operator", "the operator"),
                        ],
                        db_default="",
                        default="",
                        max_length=10,
                    ),
                ),
                ("waits_until", models.DateTimeField(null=True)),
                (
                    "erasure",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="steps",
                        to="privacy.erasure",
                    ),
                ),
            ],
            options={
                "db_table": "erasure_steps",
                "default_permissions": (),
                "constraints": [
                    findme.core.db.constraints.ForeignKeyConstraint(
                        columns=["erasure_id"],
                        name="erasure_steps_erasure_id_fkey",
                        on_delete="CASCADE",
                        to_columns=["id"],
                        to_table="erasures",
                    ),
                    models.UniqueConstraint(fields=("erasure", "step"), name="erasure_steps_key"),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "step__in",
                                [
                                    "exports",
                                    "files",
                                    "log_ins",
                                    "sessions",
                                    "rows",
                                    "admin_log",
                                    "point",
                                    "scan",
                                    "segments",
                                    "snapshots",
                                    "backups",
                                ],
                            )
                        ),
                        name="erasure_steps_step_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("done_at__isnull", False), ("waits_for", ""), ("waits_until__isnull", True)),
                            models.Q(("done_at__isnull", True), ("waits_for", ""), ("waits_until__isnull", True)),
                            models.Q(
                                ("done_at__isnull", True),
                                (
                                    "waits_for__in",
                                    [
                                        "hold",
                                        "lock",
                                        "ledger",
                                        "store",
                                        "file_store",
                                        "finding",
                                        "segments",
                                        "write_log",
                                        "snapshots",
                                        "retention",
                                        "setting",
                                        "operator",
                                    ],
                                ),
                            ),
                            _connector="OR",
                        ),
                        name="erasure_steps_waits_for_check",
                    ),
                    models.CheckConstraint(condition=models.Q(("count__gte", 0)), name="erasure_steps_count_check"),
                    findme.core.db.dates.SupportedDate(field="done_at", name="erasure_steps_done_at_range_check"),
                    findme.core.db.dates.SupportedDate(field="checked_at", name="erasure_steps_checked_at_range_check"),
                    findme.core.db.dates.SupportedDate(field="waits_until", name="erasure_steps_waits_until_range_check"),
                ],
            },
        ),
        sql_file("0010_erasures"),
    ]
