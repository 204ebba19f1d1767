"""A form with a file is rejected before a byte of it is stored."""

from __future__ import annotations

import tempfile

import pytest
from django.contrib.admin import site
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db.models import FileField
from django.test import Client
from django.urls import reverse

SECRET = "0123456789abcdefghijklmnopqrstuv"


@pytest.mark.django_db
@pytest.mark.parametrize("size", [1, 4 << 20])
def test_file__of_any_client__is_refused(size: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Also with a valid CSRF token, which comes after the file. Django would keep 4 MB in a temporary file."""
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", None)
    client = Client(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = SECRET
    posted = {"file": SimpleUploadedFile("x.bin", b"x" * size), "csrfmiddlewaretoken": SECRET, "username": "a@example.com", "password": "x"}
    response = client.post(reverse("admin:login"), posted)
    assert response.status_code == 400
    assert [record.name for record in caplog.records] == ["django.security.FileRefused"]


@pytest.mark.django_db
def test_form__of_several_parts_without_a_file_is_read() -> None:
    """The admin sends its forms like this."""
    client = Client(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = SECRET
    response = client.post(reverse("admin:login"), {"csrfmiddlewaretoken": SECRET, "username": "a@example.com", "password": "x"})
    assert response.status_code == 200 and response.context["form"].errors


def test_models__have_no_file() -> None:
    """A model with a file needs a handler that stores it, with a limit."""
    assert [model for model in site._registry if any(isinstance(field, FileField) for field in model._meta.get_fields())] == []
