"""Check the settings that production requires: for WSGI and ASGI before Django starts, and for ``check --deploy``."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004  # Django's name
from django.core.exceptions import ImproperlyConfigured

from findme.environment import missing_settings, read_dotenv

WILL_NOT_BOOT = 3
"""gunicorn's exit code for a worker that cannot boot: gunicorn stops. With another code it would restart the worker forever."""


def read_settings() -> None:
    """Read the settings, with DEBUG off by default. If one is missing or wrong, write one line on stderr and exit.

    This also applies with DEBUG on, because without a DATABASE_URL an embedded database would be started.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "findme.settings")
    wrong = None
    try:
        read_dotenv()
        wrong = missing_settings()
        settings.INSTALLED_APPS  # noqa: B018  # reads them
    except ImproperlyConfigured as error:
        wrong = wrong or str(error)
    if wrong:
        sys.stderr.write(f"{wrong}\n")
        sys.exit(WILL_NOT_BOOT)


def check_required_settings(**_app_configs_and_databases: Any) -> list[CheckMessage]:
    """Return E001 for missing settings. WSGI and ASGI do not start without them."""
    missing = missing_settings()
    return [Error(missing, id="findme.E001")] if missing else []


def check_trusted_proxies(**_app_configs_and_databases: Any) -> list[CheckMessage]:
    """Return W010 for a proxy that is not trusted: at login all clients behind it would count as one network."""
    if settings.SECURE_PROXY_SSL_HEADER is None or settings.TRUSTED_PROXIES:
        return []
    hint = "Set TRUSTED_PROXIES to the addresses of the proxy, or to unix if it connects by a Unix socket."
    return [
        Warning("BEHIND_TLS_PROXY is on and TRUSTED_PROXIES is not set: all clients share one login limit.", hint=hint, id="findme.W010")
    ]
