import uuid

import django.contrib.postgres.functions
import django.db.models.deletion
import django.db.models.functions.comparison
from django.conf import settings
from django.db import migrations, models

import findme.core.db.constraints
import findme.core.db.expressions
from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Match",
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
                ("week_number", models.IntegerField(verbose_name="ISO week")),
                ("year", models.IntegerField(verbose_name="ISO year")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("accepted", "Accepted"),
                            ("rejected", "Rejected"),
                            ("completed", "Completed"),
                            ("expired", "Expired"),
                        ],
                        db_default="pending",
                        default="pending",
                        max_length=50,
                    ),
                ),
                ("match_score", models.FloatField()),
                (
                    "user_action",
                    models.CharField(blank=True, choices=[("accepted", "Accepted"), ("rejected", "Rejected")], max_length=50, null=True),
                ),
                (
                    "matched_user_action",
                    models.CharField(blank=True, choices=[("accepted", "Accepted"), ("rejected", "Rejected")], max_length=50, null=True),
                ),
                ("expires_at", models.DateTimeField()),
                (
                    "matched_user",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="matches_received",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="matches",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "matches",
                "db_table": "matches",
                "indexes": [
                    models.Index(
                        condition=models.Q(("deleted_at__isnull", True)),
                        fields=["user", "week_number", "year"],
                        name="idx_matches_user_week",
                    ),
                    models.Index(condition=models.Q(("deleted_at__isnull", True)), fields=["status"], name="idx_matches_status"),
                    models.Index(condition=models.Q(("status", "pending")), fields=["expires_at"], name="idx_matches_expires_at"),
                    models.Index(fields=["-match_score"], name="idx_matches_score"),
                    models.Index(fields=["matched_user"], name="idx_matches_matched_user_id"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("user", "matched_user", "week_number", "year"),
                        name="matches_user_id_matched_user_id_week_number_year_key",
                        violation_error_message="These two users already have a match in this week.",
                    ),
                    models.UniqueConstraint(
                        django.db.models.functions.comparison.Least("user", "matched_user"),
                        django.db.models.functions.comparison.Greatest("user", "matched_user"),
                        models.F("week_number"),
                        models.F("year"),
                        condition=models.Q(("deleted_at__isnull", True)),
                        name="matches_pair_week_number_year_key",
                        violation_error_message="These two users already have a match in this week.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("user", models.F("matched_user")), _negated=True),
                        name="matches_check",
                        violation_error_message="A user cannot be matched with themselves.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["pending", "accepted", "rejected", "completed", "expired"])),
                        name="matches_status_check",
                        violation_error_message="Unknown match status: choose one of the listed values.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("match_score__gte", 0), ("match_score__lte", 1)),
                        name="matches_match_score_check",
                        violation_error_message="A match score is a number from 0 to 1.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("user_action__in", ["accepted", "rejected"])),
                        name="matches_user_action_check",
                        violation_error_message="An action must be accepted, rejected or empty.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("matched_user_action__in", ["accepted", "rejected"])),
                        name="matches_matched_user_action_check",
                        violation_error_message="An action must be accepted, rejected or empty.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("week_number__gte", 1),
                            ("week_number__lte", findme.core.db.expressions.IsoWeeksInYear(models.F("year"))),
                            ("year__gte", 1),
                            ("year__lte", 9999),
                        ),
                        name="matches_week_number_check",
                        violation_error_message="This ISO year does not have this week.",
                    ),
                    findme.core.db.constraints.ForeignKeyConstraint(
                        columns=["user_id"],
                        name="matches_user_id_fkey",
                        on_delete="CASCADE",
                        to_columns=["id"],
                        to_table="users",
                    ),
                    findme.core.db.constraints.ForeignKeyConstraint(
                        columns=["matched_user_id"],
                        name="matches_matched_user_id_fkey",
                        on_delete="CASCADE",
                        to_columns=["id"],
                        to_table="users",
                    ),
                ],
            },
        ),
        sql_file("0001_updated_at"),
        sql_file("0001_users"),
    ]
