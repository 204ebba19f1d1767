"""Check the settings of the sync before anything is claimed."""

from __future__ import annotations

import math

from django.conf import settings

from findme.core.errors import UserFacingError
from vectorstore.qdrant.address import server_address, timeout_seconds
from vectorstore.qdrant.connection import collection_name, is_embedded

MAX_SECONDS = 86_400


class WrongSetting(UserFacingError):
    """A setting is invalid. Only the operator can correct it, so no worker waits."""


def check_settings() -> None:
    """Raise WrongSetting if a setting of the sync is invalid."""
    try:
        timeout, _name = timeout_seconds(), collection_name()
        if not is_embedded():
            server_address()
    except UserFacingError as error:
        raise WrongSetting(str(error)) from error
    if not math.ceil(timeout) < settings.SYNC_LEASE_SECONDS <= MAX_SECONDS:
        raise WrongSetting(
            f"SYNC_LEASE_SECONDS is {settings.SYNC_LEASE_SECONDS!r}. Set it to a number of seconds greater than QDRANT_TIMEOUT"
            f" ({math.ceil(timeout)}) and at most {MAX_SECONDS} (one day)."
        )
    if not 0 <= settings.SYNC_RECHECK_SECONDS <= MAX_SECONDS:
        raise WrongSetting(
            f"SYNC_RECHECK_SECONDS is {settings.SYNC_RECHECK_SECONDS!r}. Set it to a number of seconds from 0 to {MAX_SECONDS} (one day)."
        )
