"""Requests in UTF-8, whatever charset they name.

Django decodes a query and a form by the charset of the ``Content-Type``, with any codec of Python, for any stranger: ``punycode`` takes the square of
the length (minutes for 2 MB), and ``zip``, which decodes no text, raises an error before Django can answer it. Browsers send UTF-8.
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
        """Django's constructor calls it; without an ``encoding``, Django decodes UTF-8."""
        try:
            self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        except ValueError:  # a parameter in an encoding of its own (RFC 2231) that is not known
            self.content_type, self.content_params = "", {}


class Utf8WsgiRequest(_InUtf8, WSGIRequest):
    """A request under WSGI."""


class Utf8AsgiRequest(_InUtf8, ASGIRequest):
    """A request under ASGI."""
