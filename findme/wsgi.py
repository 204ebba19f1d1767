"""The WSGI application: production. It never starts a database, and ends in one line where a setting is missing."""

from __future__ import annotations

import os
import sys

from django.core.wsgi import get_wsgi_application

from findme.environment import env, missing_in_production, read_dotenv

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "findme.settings")
read_dotenv()
if not env.bool("DEBUG", default=False) and (missing := missing_in_production()):
    sys.exit(missing)
application = get_wsgi_application()
