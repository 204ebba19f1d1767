import uuid

import django.contrib.postgres.functions
import django.contrib.postgres.indexes
import django.db.models.functions.text
from django.db import migrations, models

import findme.core.db.expressions
from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        # The reverse keeps the extension, because other applications may use it.
        migrations.RunSQL("CREATE EXTENSION IF NOT EXISTS pg_trgm", migrations.RunSQL.noop),
        migrations.CreateModel(
            name="User",
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
                ("email", models.EmailField(max_length=255)),
                ("password", models.CharField(blank=True, db_column="password_hash", max_length=255, verbose_name="password")),
                ("full_name", models.CharField(max_length=255)),
                ("date_of_birth", models.DateField()),
                ("gender", models.CharField(choices=[("male", "Male"), ("female", "Female"), ("other", "Other")], max_length=50)),
                ("bio", models.TextField(blank=True, null=True)),
                ("verified", models.BooleanField(db_default=False, default=False)),
                ("active", models.BooleanField(db_default=True, default=True)),
                ("last_login", models.DateTimeField(blank=True, editable=False, null=True)),
                ("is_staff", models.BooleanField(db_default=False, default=False, verbose_name="staff")),
                ("is_superuser", models.BooleanField(db_default=False, default=False, verbose_name="superuser")),
                (
                    "groups",
                    models.ManyToManyField(
                        blank=True,
                        help_text="The groups this user belongs to. A user will get all permissions granted to each of their groups.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.group",
                        verbose_name="groups",
                    ),
                ),
                (
                    "user_permissions",
                    models.ManyToManyField(
                        blank=True,
                        help_text="Specific permissions for this user.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.permission",
                        verbose_name="user permissions",
                    ),
                ),
            ],
            options={
                "db_table": "users",
                "permissions": [
                    ("export_personal_data", "Can export a user's data"),
                    ("anonymize_user", "Can anonymize a user"),
                    ("soft_delete_user", "Can soft-delete a user"),
                    ("erase_user", "Can delete a user for good"),
                ],
                "indexes": [
                    models.Index(condition=models.Q(("deleted_at__isnull", True)), fields=["email"], name="idx_users_email"),
                    models.Index(condition=models.Q(("deleted_at__isnull", True)), fields=["verified"], name="idx_users_verified"),
                    models.Index(
                        condition=models.Q(("active", True), ("deleted_at__isnull", True)), fields=["active"], name="idx_users_active"
                    ),
                    models.Index(fields=["-created_at"], name="idx_users_created_at"),
                    django.contrib.postgres.indexes.GinIndex(
                        findme.core.db.expressions.EnglishSearchVector("bio"), name="idx_users_bio_search"
                    ),
                    django.contrib.postgres.indexes.GinIndex(
                        django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper("full_name"), "gin_trgm_ops"),
                        django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper("email"), "gin_trgm_ops"),
                        name="idx_users_name_email_trgm",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("email",), name="users_email_key", violation_error_message="Another user has this e-mail address."
                    ),
                    models.UniqueConstraint(
                        django.db.models.functions.text.Lower("email"),
                        name="idx_users_email_lower",
                        violation_error_message="Another user has this e-mail address.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("gender__in", ["male", "female", "other"])),
                        name="users_gender_check",
                        violation_error_message="The gender must be male, female or other.",
                    ),
                ],
            },
        ),
        sql_file("0001_updated_at"),
    ]
