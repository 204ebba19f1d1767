"""The settings of the sync, checked before anything is claimed."""

from __future__ import annotations

import math

from django.conf import settings

from findme.core.errors import UserFacingError
from vectorstore.qdrant.address import server_address, timeout_seconds
from vectorstore.qdrant.connection import collection_name, is_embedded

LONGEST = 86_400


class WrongSetting(UserFacingError):
    """No waiting mends it."""


def check_settings() -> None:
    """Raises WrongSetting."""
    try:
        timeout, _name = timeout_seconds(), collection_name()
        if not is_embedded():
            server_address()
    except UserFacingError as error:
        raise WrongSetting(str(error)) from error
    if not math.ceil(timeout) < settings.SYNC_LEASE_SECONDS <= LONGEST:
        raise WrongSetting(
            f"SYNC_LEASE_SECONDS is {settings.SYNC_LEASE_SECONDS!r}: it is a number of seconds, above QDRANT_TIMEOUT ({math.ceil(timeout)}) and at most a day."
        )
    if not 0 <= settings.SYNC_RECHECK_SECONDS <= LONGEST:
        raise WrongSetting(f"SYNC_RECHECK_SECONDS is {settings.SYNC_RECHECK_SECONDS!r}: it is a number of seconds from 0 to a day.")
