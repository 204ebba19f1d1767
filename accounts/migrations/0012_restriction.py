from django.db import migrations, models

from findme.core.db.checks import AddChecks
from findme.core.db.dates import supported_dates
from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("accounts", "0011_holds"), ("privacy", "0017_changes_while_restricted")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="restricted_at",
            field=models.DateTimeField(blank=True, editable=False, help_text="Since when the data is only stored (article 18)", null=True),
        ),
        migrations.AddField(
            model_name="user",
            name="objected_at",
            field=models.DateTimeField(
                blank=True,
                editable=False,
                help_text="Since when the user is in no search and no match (articles 7 (3) and 21)",
                null=True,
            ),
        ),
        AddChecks("User", supported_dates("users", "restricted_at", "objected_at")),
        migrations.AlterModelOptions(
            name="user",
            options={
                "permissions": [
                    ("export_personal_data", "Can export a user's data"),
                    ("anonymize_user", "Can anonymize a user"),
                    ("soft_delete_user", "Can soft-delete a user"),
                    ("erase_user", "Can delete a user for good"),
                    ("restrict_user", "Can restrict the processing of a user's data"),
                    ("stop_matching_user", "Can stop the matching of a user"),
                ]
            },
        ),
        sql_file("0012_restriction"),
    ]
