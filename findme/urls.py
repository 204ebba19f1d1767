from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from accounts.own_password import change_own_password

urlpatterns = [
    path("admin/password_change/", change_own_password),  # in the place of Django's: admin:password_change leads here
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(pattern_name="admin:index")),
]
