"""``DATABASE_URL``: what it may say, and that no error repeats a password."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from findme.database_url import ESCAPES, FORM, UNREADABLE, database_settings


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@h:5433/db", {"USER": "u", "PASSWORD": "p", "HOST": "h", "PORT": "5433", "NAME": "db"}),
        ("postgres://h/db", {"USER": "", "PASSWORD": "", "HOST": "h", "PORT": "", "NAME": "db"}),
        ("postgresql://u%40x:p%40%3A%2F%3F%23%25+@h/d%20b", {"USER": "u@x", "PASSWORD": "p@:/?#%+", "NAME": "d b"}),
        ("postgresql:///db?host=/run/x", {"HOST": "/run/x", "NAME": "db"}),
        ("postgresql://%2Frun%2Fa%20b/db", {"HOST": "/run/a b"}),
        ("postgresql:///db?host=/run/x&port=5499&user=u&password=p%25", {"HOST": "/run/x", "PORT": "5499", "USER": "u", "PASSWORD": "p%"}),
        ("postgresql://u@[::1]:5/db", {"HOST": "::1", "PORT": "5"}),
        ("postgresql://a:1,b:2/db?target_session_attrs=read-write", {"HOST": "a,b", "PORT": "1,2"}),
    ],
)
def test_url__is_read_as_libpq_does(url: str, expected: dict[str, str]) -> None:
    found = database_settings(url)
    assert found["ENGINE"] == "django.db.backends.postgresql"
    assert found | expected == found


def test_url__what_django_has_no_key_for_goes_to_libpq() -> None:
    found = database_settings("postgresql://h/db?sslmode=verify-full&sslrootcert=/etc/ca%20x.pem&application_name=findme")
    assert found["OPTIONS"] == {
        "connect_timeout": "10",
        "sslmode": "verify-full",
        "sslrootcert": "/etc/ca x.pem",
        "application_name": "findme",
    }
    assert database_settings("postgresql://h/db?connect_timeout=3")["OPTIONS"] == {"connect_timeout": "3"}
    service: dict[str, Any] = database_settings("postgresql://?service=findme")
    assert (service["NAME"], service["OPTIONS"]["service"]) == ("", "findme")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://u:secret@h/db", f"DATABASE_URL begins with 'mysql': it must be {FORM}."),
        ("u:secret@h/db", f"DATABASE_URL is no URL: it must be {FORM}."),
        ("u:secret@://h/db", f"DATABASE_URL is no URL: it must be {FORM}."),
        ("postgresql://u:secret@h", f"DATABASE_URL names no database: it must be {FORM}."),
        ("postgresql://u:se@cret@h/db", f"DATABASE_URL has an @ too many: {ESCAPES}."),
        ("postgresql://u:1/secret@h/db", f"DATABASE_URL has an @ too many: {ESCAPES}."),
        ("postgresql://u:secret%zz@h/db", UNREADABLE),
        ("postgresql://u:secret/db", UNREADABLE),
        ("postgresql://u:x@h:secret/db", UNREADABLE),
        ("postgresql://h/db?secret=1", UNREADABLE),
    ],
)
def test_url__that_cannot_be_used_is_one_line_without_the_password(url: str, message: str) -> None:
    with pytest.raises(ImproperlyConfigured) as raised:
        database_settings(url)
    assert str(raised.value) == message
    assert "secret" not in message and "\n" not in message
