"""The ASGI application for production. It never starts a database, and exits with one line if a setting is missing or wrong."""

from __future__ import annotations

from django.core.asgi import get_asgi_application

from findme.production import read_settings
from findme.web.bounded_asgi import BoundedAsgi
from findme.web.utf8_requests import Utf8AsgiRequest

read_settings()
_django = get_asgi_application()
_django.request_class = Utf8AsgiRequest
application = BoundedAsgi(_django)
