from django.apps import AppConfig
from django.core import checks
from django.utils.module_loading import autodiscover_modules


class PrivacyConfig(AppConfig):
    name = "privacy"
    verbose_name = "Privacy"
    trigger_files = (
        ("0001_erased_users", "0001_erased_users"),
        ("0002_audit_log", "0002_audit_log"),
        ("0005_requests", "0005_requests"),
        ("0006_erasure_ledger", "0006_erasure_ledger"),
        ("0007_pending_actions", "0007_pending_actions"),
        ("0010_erasures", "0010_erasures"),
        ("0011_holds", "0011_holds"),
        ("0012_ledger_checkpoints", "0012_ledger_checkpoints"),
        ("0017_changes_while_restricted", "0017_changes_while_restricted"),
        ("0019_ledger_chain", "0019_ledger_chain"),
        ("0022_kept_and_restricted_data", "0022_kept_and_restricted_data"),
        ("0024_confirmed_staff", "0024_confirmed_staff"),
        ("0026_ledger_statements", "0026_ledger_statements"),
    )

    def ready(self) -> None:
        from privacy.checks.deployment import check_ledger_settings
        from privacy.checks.run import check_owners

        autodiscover_modules("personal_data")
        checks.register(check_owners, "privacy")
        checks.register(check_ledger_settings, deploy=True)
