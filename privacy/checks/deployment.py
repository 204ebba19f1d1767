"""Check for production: without the ledger outside, no user can be erased, and a restore would bring erased users back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

from findme.core.errors import UserFacingError, one_line
from privacy.ledger.keys import subject_keys
from privacy.ledger.signing import signing_key

KEYS = {"ERASURE_LEDGER_KEYS": subject_keys, "PRIVACY_SIGNING_KEY": signing_key}


def check_ledger_settings(**_app_configs_and_databases: Any) -> list[CheckMessage]:
    """Return E011 for each setting that is missing or cannot be used."""
    return list(_errors())


def _errors() -> Iterator[CheckMessage]:
    if not settings.ERASURE_LEDGER_URL:
        hint = "Set it to a folder on another disk, or to an address such as s3://BUCKET/ledger."
        yield Error("ERASURE_LEDGER_URL is not set: no user can be erased.", hint=hint, id="privacy.E011")
    for name, read in KEYS.items():
        try:
            read()
        except UserFacingError as error:
            yield Error(f"{name} cannot be used: no user can be erased.", hint=one_line(error), id="privacy.E011")
