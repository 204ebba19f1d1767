"""The settings that production cannot do without: asked for by WSGI and ASGI before Django begins, and by ``check --deploy``."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004  # Django's name
from django.core.exceptions import ImproperlyConfigured

from findme.environment import missing_settings, read_dotenv

WILL_NOT_BOOT = 3
"""gunicorn's code for it: it ends, where for another it would begin a new worker again and again."""


def read_settings() -> None:
    """Read the settings, DEBUG off unless they say otherwise. Writes one line on stderr and ends the process where they are not enough: also
    with DEBUG on, since without a DATABASE_URL a database would be started."""
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
    """E001 for settings that are missing; WSGI and ASGI would not start without them."""
    missing = missing_settings()
    return [Error(missing, id="findme.E001")] if missing else []


def check_trusted_proxies(**_app_configs_and_databases: Any) -> list[CheckMessage]:
    """W010 for a proxy that is not trusted: all clients behind it would count as one network at the log-in."""
    if settings.SECURE_PROXY_SSL_HEADER is None or settings.TRUSTED_PROXIES:
        return []
    hint = "Set TRUSTED_PROXIES to the addresses of the proxy, or to unix if it connects by a Unix socket."
    return [
        Warning("BEHIND_TLS_PROXY is on and TRUSTED_PROXIES is not set: all clients share the limits of one.", hint=hint, id="findme.W010")
    ]
