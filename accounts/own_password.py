"""The admin's page for one's own password, with one's row locked from the reading to the saving."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from accounts.models import User


def change_own_password(request: HttpRequest) -> HttpResponseBase:
    """Django's page saves the whole row as it was when the request came: it would bring back what an anonymisation cleared in between, and
    somebody who was deleted for good."""
    with transaction.atomic():
        if request.method == "POST":
            person = User.objects.select_for_update(no_key=True).filter(pk=request.user.pk).first()
            request.user = person if person is not None and person.is_active else AnonymousUser()
        return admin.site.admin_view(admin.site.password_change, cacheable=True)(request)
