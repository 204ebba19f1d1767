"""``DATABASE_URL``: its valid values, and no error that repeats a password."""

from __future__ import annotations

from contextlib import closing
from typing import Any
from urllib.parse import quote

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from psycopg import pq

from findme.database_parameters import CHOICES
from findme.database_url import ESCAPES, FORM, ISOLATION, UNREADABLE, database_settings, server_and_name

DEFAULT = "default_transaction_isolation"
PORT = "it must be a whole number from 1 to 65535."
WITH = "DATABASE_URL has the parameter {!r} with"
UNKNOWN = "DATABASE_URL has the parameter '{}', which libpq does not know."


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
    assert found["ENGINE"] == "findme.core.postgresql"
    assert found | expected == found


def test_url__what_django_has_no_key_for_goes_to_libpq() -> None:
    found = database_settings("postgresql://h/db?sslmode=verify-full&sslrootcert=/etc/ca%20x.pem&application_name=findme")
    assert found["OPTIONS"] == {
        "connect_timeout": "10",
        "tcp_user_timeout": "60000",
        "keepalives_idle": "30",
        "keepalives_interval": "10",
        "keepalives_count": "3",
        "sslmode": "verify-full",
        "sslrootcert": "/etc/ca x.pem",
        "application_name": "findme",
        "isolation_level": ISOLATION,
    }
    assert database_settings("postgresql://h/db?connect_timeout=3")["OPTIONS"]["connect_timeout"] == "3"
    service: dict[str, Any] = database_settings("postgresql://?service=findme")
    assert (service["NAME"], service["OPTIONS"]["service"]) == ("", "findme")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://u:secret@h/db", f"DATABASE_URL begins with 'mysql': it must be {FORM}."),
        ("u:secret@h/db", f"DATABASE_URL is not a URL: it must be {FORM}."),
        ("u:secret@://h/db", f"DATABASE_URL is not a URL: it must be {FORM}."),
        ("postgresql://u:secret@h", f"DATABASE_URL names no database: it must be {FORM}."),
        ("postgresql://u:se@cret@h/db", f"DATABASE_URL has one @ too many: {ESCAPES}."),
        ("postgresql://u:1/secret@h/db", f"DATABASE_URL has one @ too many: {ESCAPES}."),
        ("postgresql://u:secret%zz@h/db", UNREADABLE),
        ("postgresql://u:secret/db", UNREADABLE),
        ("postgresql://u:x@h:secret/db", UNREADABLE),
        ("postgresql://u:x?secret=y@h:secret/db", UNREADABLE),
        ("postgresql://h/db?secret", UNREADABLE),
        ("postgresql://u:secret@h/db?sslmod=require", f"{UNKNOWN.format('sslmod')} Did you mean 'sslmode'?"),
        ("postgresql://u:secret@h/db?sslmode=require&pgbouncer=true", f"{UNKNOWN.format('pgbouncer')} Remove it."),
        (
            "postgresql://u:secret@h/db?schema=public",
            f"{UNKNOWN.format('schema')} Remove it. To use another schema, add options=-csearch_path%3DNAME.",
        ),
        ("postgresql://u:secret@h/db?connect_timeout=abc", "DATABASE_URL has connect_timeout='abc': it must be a whole number."),
        ("postgresql://u:secret@h/db?keepalives_idle=1s", "DATABASE_URL has keepalives_idle='1s': it must be a whole number."),
        ("postgresql://u:secret@h/db?port=abc", f"DATABASE_URL has port='abc': {PORT}"),
        ("postgresql://u:secret@h/db?port=99999", f"DATABASE_URL has port='99999': {PORT}"),
        ("postgresql://u:secret@h/db?port=0", f"DATABASE_URL has port='0': {PORT}"),
        ("postgresql://u:secret@h:99999/db", f"DATABASE_URL has a wrong port: {PORT}"),
        ("postgresql://u:12345678/db", f"DATABASE_URL has a wrong port: {PORT}"),
        ("postgresql://h/db?port=1,2", "DATABASE_URL has port='1,2': 2 ports for 1 host. Name one port, or one for each host."),
        ("postgresql://h/db?hostaddr=h", "DATABASE_URL has hostaddr='h': it must be an IP address, or several with a comma between them."),
        ("postgresql://u:secret@h/db?options=-c%20secret=bar", f"{WITH.format('options')} an = in its value: write it as %3D."),
        (
            "postgresql://h/db?application_name=%zz",
            f"{WITH.format('application_name')} a % that does not begin an escape such as %3D: write a % as %25.",
        ),
        (
            "postgresql://h/db?password=secret%",
            f"{WITH.format('password')} a % that does not begin an escape such as %3D: write a % as %25.",
        ),
        (
            "postgresql://h/db?ssl=false",
            "DATABASE_URL has the parameter 'ssl', which can only be true: use sslmode=disable, allow, prefer, require, verify-ca, verify-full.",
        ),
    ],
)
def test_url__that_cannot_be_used_is_one_line_without_the_password(url: str, message: str) -> None:
    with pytest.raises(ImproperlyConfigured) as raised:
        database_settings(url)
    assert str(raised.value) == message
    assert "secret" not in message and "\n" not in message


@pytest.mark.parametrize("name", sorted(CHOICES))
def test_url__a_choice_that_libpq_refuses__is_named_with_the_choices(name: str) -> None:
    with pytest.raises(ImproperlyConfigured) as raised:
        database_settings(f"postgresql://u:secret@h/db?{name}=bogus")
    assert str(raised.value) == f"DATABASE_URL has {name}='bogus': it must be one of {', '.join(CHOICES[name])}."
    assert "value:" in refusal_of_libpq(name, "bogus")
    for choice in CHOICES[name]:
        assert database_settings(f"postgresql://h/db?{name}={choice}")["OPTIONS"][name] == choice
        assert "value:" not in refusal_of_libpq(name, choice)


@pytest.mark.parametrize(
    "query",
    [
        "ssl_min_protocol_version=tlsv1.2",
        "ssl_min_protocol_version=",
        "port=%205",
        "port=",
        "hostaddr=::1",
        "service=x&port=1,2",
        "ssl=true",
    ],
)
def test_url__values_that_libpq_reads(query: str) -> None:
    assert database_settings(f"postgresql:///db?{query}")["NAME"] == "db"


def refusal_of_libpq(name: str, value: str) -> str:
    session = pq.PGconn.connect_start(f"host=/nonexistent dbname=db sslmode=verify-full {name}={value}".encode())
    try:
        while session.status != pq.ConnStatus.BAD:
            session.connect_poll()
        return session.error_message.decode()
    finally:
        session.finish()


@pytest.mark.django_db
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_transactions__see_what_is_committed_whatever_the_default(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGOPTIONS", raising=False)
    default = f"-c default_transaction_isolation={level.replace(' ', chr(92) + ' ')}"
    own = connection.copy()
    own.settings_dict["OPTIONS"] = {
        **own.settings_dict["OPTIONS"],
        **database_settings(f"postgresql:///db?options={quote(default)}")["OPTIONS"],
    }
    with closing(own):
        own.set_autocommit(False)
        with own.cursor() as cursor:
            cursor.execute("SELECT reset_val, current_setting('transaction_isolation') FROM pg_settings WHERE name = %s", [DEFAULT])
            assert cursor.fetchone() == (level, "read committed")
        own.commit()
        own.set_autocommit(True)
        with own.cursor() as cursor:
            cursor.execute("SELECT current_setting('transaction_isolation')")
            assert cursor.fetchone() == ("read committed",)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://u:secret@db.example:5433/findme", "db.example-5433-findme"),
        ("postgresql://db.example/findme", "db.example-findme"),
        ("postgresql:///findme?host=/run/postgresql", "run-postgresql-findme"),
        ("postgresql:///findme", "local-findme"),
        ("postgresql://?service=findme", "local-findme"),
        ("postgresql://[::1]/a%2Fb", "1-a-b"),
    ],
)
def test_server_and_name__is_a_part_of_a_file_name_without_the_password(url: str, name: str) -> None:
    assert server_and_name(database_settings(url)) == name
