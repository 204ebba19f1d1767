"""Decode requests as UTF-8, whatever charset they name. Browsers send UTF-8.

Django decodes a query and a form by the charset of the ``Content-Type``, with any codec of Python, for any client. The time of ``punycode`` grows
with the square of the length (minutes for 2 MB). ``zip`` decodes no text, and raises an error before Django can answer it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.utils.http import parse_header_parameters

if TYPE_CHECKING:
    from django.http import HttpRequest as _Base
else:
    _Base = object


class _InUtf8(_Base):
    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        """Parse the content type without setting ``encoding``, so Django decodes UTF-8. Django's constructor calls this."""
        try:
            self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        except ValueError:  # a parameter names an unknown encoding (RFC 2231)
            self.content_type, self.content_params = "", {}


class Utf8WsgiRequest(_InUtf8, WSGIRequest):
    """A request under WSGI."""


class Utf8AsgiRequest(_InUtf8, ASGIRequest):
    """A request under ASGI."""
