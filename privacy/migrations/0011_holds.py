from django.db import migrations, models

import findme.core.db.dates
import findme.core.db.expressions
from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [
        ("privacy", "0010_erasures"),
    ]

    operations = [
        migrations.AddField(
            model_name="pendingaction",
            name="is_held",
            field=models.BooleanField(
                db_default=False, default=False, help_text="Only held data is left: the action is completed when the holds end"
            ),
        ),
        migrations.CreateModel(
            name="Hold",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("set_at", models.DateTimeField(db_default=findme.core.db.expressions.ClockTimestamp(), editable=False)),
                ("set_by_id", models.UUIDField(editable=False, help_text="The staff member", null=True)),
                (
                    "set_by_account",
                    models.CharField(
                        db_default="",
                        default="",
                        editable=False,
                        help_text="The operating system account that ran the command",
                        max_length=64,
                    ),
                ),
                ("user_id", models.UUIDField(help_text="The UUID of the user", verbose_name="user")),
                ("section", models.CharField(choices=[("matches", "Matches"), ("calls", "Calls"), ("videos", "Videos")], max_length=20)),
                (
                    "article",
                    models.CharField(
                        choices=[
                            ("17_3_a", "17 (3) (a): freedom of expression and information"),
                            ("17_3_b", "17 (3) (b): legal obligation or public task"),
                            ("17_3_c", "17 (3) (c): public health"),
                            ("17_3_d", "17 (3) (d): archiving, research or statistics"),
                            ("17_3_e", "17 (3) (e): legal claims"),
                        ],
                        max_length=20,
                    ),
                ),
                ("until", models.DateField(blank=True, help_text="The last day of the hold. Empty: until it is released", null=True)),
                ("released_at", models.DateTimeField(editable=False, null=True)),
                ("released_by_id", models.UUIDField(editable=False, null=True)),
                ("released_by_account", models.CharField(db_default="", default="", editable=False, max_length=64)),
            ],
            options={
                "db_table": "holds",
                "permissions": [("handle_holds", "Can set and release holds")],
                "default_permissions": ("view",),
                "indexes": [models.Index(fields=["user_id"], name="holds_user_id_idx")],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("section__in", ["matches", "calls", "videos"])), name="holds_section_check"),
                    models.CheckConstraint(
                        condition=models.Q(("article__in", ["17_3_a", "17_3_b", "17_3_c", "17_3_d", "17_3_e"])), name="holds_article_check"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("set_by_account__gt", ""), ("set_by_id__isnull", True)),
                            models.Q(("set_by_account", ""), ("set_by_id__isnull", False)),
                            _connector="OR",
                        ),
                        name="holds_set_by_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("released_at__isnull", True), ("released_by_account", ""), ("released_by_id__isnull", True)),
                            models.Q(("released_at__isnull", False), ("released_by_account__gt", ""), ("released_by_id__isnull", True)),
                            models.Q(("released_at__isnull", False), ("released_by_account", ""), ("released_by_id__isnull", False)),
                            _connector="OR",
                        ),
                        name="holds_released_by_check",
                    ),
                    findme.core.db.dates.SupportedDate(field="set_at", name="holds_set_at_range_check"),
                    findme.core.db.dates.SupportedDate(field="until", name="holds_until_range_check"),
                    findme.core.db.dates.SupportedDate(field="released_at", name="holds_released_at_range_check"),
                ],
            },
        ),
        sql_file("0011_holds"),
    ]
