"""What WSGI and ASGI do before Django begins."""

from __future__ import annotations

import os
import sys

from django.conf import settings
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
