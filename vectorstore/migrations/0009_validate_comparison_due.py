from django.db import migrations

from findme.core.db.checks import ValidateChecks


class Migration(migrations.Migration):
    dependencies = [
        ("vectorstore", "0008_comparison_due"),
    ]

    operations = [
        ValidateChecks("StoreState", ["vector_store_state_comparison_due_at_range_check"]),
    ]
