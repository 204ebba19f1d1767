"""Middleware for requests that hash a password outside the login."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from accounts.login.client import client_network
from accounts.login.hash_limit import LoginBusy
from accounts.login.hashing import network_of_request
from accounts.login.response import busy_response


class HashingMiddleware:
    """Tell the hasher the network of the request, and answer 503 for LoginBusy."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        token = network_of_request.set(client_network(request))
        try:
            return self._get_response(request)
        finally:
            network_of_request.reset(token)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return busy_response(request) if isinstance(error, LoginBusy) else None
