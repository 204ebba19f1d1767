from django.db import migrations, models

from findme.core.db.checks import AddChecks, RemoveChecks

KINDS = [
    (1, "Erase"),
    (2, "Undo an erasure"),
    (3, "Anonymize"),
    (4, "Undo an anonymization"),
    (5, "Soft delete"),
    (6, "Undo a soft deletion"),
    (7, "Restrict"),
    (8, "Lift a restriction"),
    (9, "Object"),
    (10, "Withdraw an objection"),
    (11, "Rectify"),
]


class Migration(migrations.Migration):
    dependencies = [("privacy", "0014_exports")]

    operations = [
        RemoveChecks("LedgerEntry", ["erasure_ledger_kind_check"]),
        migrations.AlterField("LedgerEntry", "kind", models.SmallIntegerField(choices=KINDS)),
        migrations.AlterField("PendingAction", "kind", models.SmallIntegerField(choices=KINDS)),
        AddChecks(
            "LedgerEntry",
            [models.CheckConstraint(condition=models.Q(("kind__gte", 1), ("kind__lte", 11)), name="erasure_ledger_kind_check")],
        ),
    ]
