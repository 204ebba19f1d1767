"""Groups in the admin. Only superusers change them: other staff could give their own group any permission."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.models import Group
from django.http import HttpRequest

from findme.core.admin.model_admin import FindmeModelAdmin

admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, FindmeModelAdmin[Group]):
    declared_permissions = ("view",)
    ordering = ("name",)
    filter_horizontal = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow superusers to delete groups, which the admin allows for no other model. Only memberships refer to a group."""
        return bool(request.user.is_superuser)
