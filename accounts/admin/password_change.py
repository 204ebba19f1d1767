"""Admin page on which users change their own password.

A wrong old password counts like a failed login. Otherwise an open or stolen session would allow unlimited guesses.
"""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.models import AnonymousUser
from django.forms import Form
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from accounts.login import attempts
from accounts.login.attempts import Account
from accounts.login.client import client_network
from accounts.login.hashing import hashing_turn
from accounts.login.response import paused_response
from accounts.models import User


def change_own_password(request: HttpRequest) -> HttpResponseBase:
    """Show or save Django's form. Raises LoginBusy if too many passwords are hashed at once."""
    if request.method != "POST":
        return _page(request)
    network = client_network(request)
    with hashing_turn(network), attempts.network_lock(network):
        user = _lock_user(request)
        if user is None or not admin.site.has_permission(request):
            return _page(request)  # redirects to the login
        return _try(request, user, network)


def _lock_user(request: HttpRequest) -> User | None:
    """Lock the user's row until the transaction ends, and reload it. Return None if the user can no longer log in.

    Django saves the whole row as it was at the start of the request. Without the lock, this would restore a deleted user or data that an
    anonymization has cleared.
    """
    user: User | None = User.objects.select_for_update(no_key=True).filter(pk=request.user.pk).first()
    if user is None or not user.is_active:
        request.user = AnonymousUser()
        return None
    request.user = user
    return user


def _try(request: HttpRequest, user: User, network: str) -> HttpResponseBase:
    account = Account(str(user.pk), user.pk)
    if (wait := attempts.time_to_wait(account, network)) is not None:
        return paused_response(request, wait)
    response = _page(request)
    form = _refused_form(response)
    if form is not None and form.has_error("old_password", "password_incorrect"):
        attempts.record_failure(user.email, account, network, "Wrong old password")
    elif form is None or not form.has_error("old_password"):
        attempts.forget_failures(account, network)
    return response


def _page(request: HttpRequest) -> HttpResponseBase:
    response: HttpResponseBase = admin.site.admin_view(admin.site.password_change, cacheable=True)(request)
    return response


def _refused_form(response: HttpResponseBase) -> Form | None:
    """Return the invalid form, or None if the password was changed."""
    form: Form | None = (getattr(response, "context_data", None) or {}).get("form")
    return form
