"""The charset of a request does not choose a codec of Python."""

from __future__ import annotations

import time
from io import BytesIO

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.test import RequestFactory

from findme.web.utf8_requests import Utf8AsgiRequest, Utf8WsgiRequest
from tests.support.processes import PRODUCTION, python

NO_TEXT_ENCODINGS = ("zip", "rot13", "base64", "undefined", "punycode", "idna", "utf-16", "latin-1", "nonsense")
SHOW = "from findme.{name} import application; print(vars(getattr(application, '_application', application))['request_class'].__name__)"


def wsgi(content_type: str, body: bytes = b"", query: str = "q=caf%C3%A9..x") -> WSGIRequest:
    request = RequestFactory().generic("POST", "/", body, content_type="text/plain", QUERY_STRING=query)
    return Utf8WsgiRequest(request.environ | {"CONTENT_TYPE": content_type, "wsgi.input": BytesIO(body)})


def asgi(content_type: str, query: str = "q=caf%C3%A9..x") -> ASGIRequest:
    headers = [(b"content-type", content_type.encode())]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "headers": headers}
    return Utf8AsgiRequest(scope, BytesIO())


def form(value: bytes) -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + value + b"\r\n--x--\r\n"


@pytest.mark.parametrize("charset", NO_TEXT_ENCODINGS)
def test_request__is_utf8_whatever_it_says(charset: str) -> None:
    assert wsgi(f"text/html; charset={charset}").GET["q"] == "café..x"
    assert asgi(f"text/html; charset={charset}").GET["q"] == "café..x"
    assert wsgi(f"application/x-www-form-urlencoded; charset={charset}", b"a=caf%C3%A9").POST["a"] == "café"
    assert wsgi(f"multipart/form-data; boundary=x; charset={charset}", form("café".encode())).POST["a"] == "café"


def test_request__a_form_in_punycode_takes_no_time() -> None:
    body = form(b"-" + b"z" * 2_000_000)
    begun = time.process_time()
    assert len(wsgi("multipart/form-data; boundary=x; charset=punycode", body).POST["a"]) == 2_000_001
    assert time.process_time() - begun < 10  # by that codec it takes minutes


@pytest.mark.parametrize("encoding", ["nonsense", "undefined"])
def test_request__a_parameter_in_an_unknown_encoding(encoding: str) -> None:
    assert wsgi(f"text/html; x*={encoding}''%ff").content_type == ""
    assert asgi(f"text/html; x*={encoding}''%ff").content_type == ""


@pytest.mark.at_length
@pytest.mark.parametrize(("name", "shown"), [("wsgi", "Utf8WsgiRequest"), ("asgi", "Utf8AsgiRequest")])
def test_application__uses_these_requests(name: str, shown: str) -> None:
    assert python("-W", "ignore:No directory at", "-c", SHOW.format(name=name), **PRODUCTION) == (0, f"{shown}\n", "")
