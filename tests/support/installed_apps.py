"""An app of the tests that is installed for a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib import admin
from django.contrib.admin import sites
from django.test import modify_settings


@contextmanager
def installed_app(name: str) -> Iterator[None]:
    """Install the app during the block.

    The site of the admin stays: Unfold creates a new one, without registered models, whenever the apps are loaded.
    """
    site = admin.site
    try:
        with modify_settings(INSTALLED_APPS={"append": name}):
            yield
    finally:
        admin.site = sites.site = site
