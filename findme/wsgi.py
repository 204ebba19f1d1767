"""The WSGI application for production. It never starts a database, and exits with one line if a setting is missing or wrong."""

from __future__ import annotations

from django.core.wsgi import get_wsgi_application

from findme.production import read_settings
from findme.web.utf8_requests import Utf8WsgiRequest

read_settings()
application = get_wsgi_application()
application.request_class = Utf8WsgiRequest
