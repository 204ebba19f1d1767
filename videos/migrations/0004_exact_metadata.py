from django.db import migrations, models

import findme.core.values.json_fields


class Migration(migrations.Migration):
    dependencies = [
        ("videos", "0003_validate_date_checks"),
    ]

    operations = [
        migrations.AlterField(
            model_name="video",
            name="metadata",
            field=findme.core.values.json_fields.ExactJSONField(
                blank=True, db_default=models.Value({}, output_field=models.JSONField()), default=dict
            ),
        ),
    ]
