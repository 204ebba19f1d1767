"""Databases and roles for one test, on the server that the tests use."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from django.db import OperationalError, connection
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.support.processes import ended, start_python
from tests.support.untraced import untraced


def database_parameters() -> dict[str, str]:
    """Return ``dbname``, ``host``, ``port``, ``user`` and ``password`` of the test's database, without those that are not set."""
    parameters = connection.get_connection_params()
    return {name: str(parameters[name]) for name in ("dbname", "host", "port", "user", "password") if parameters.get(name)}


def url_of(parameters: Mapping[str, str]) -> str:
    """Return the DATABASE_URL for the parameters of a connection."""
    query = {name: value for name, value in parameters.items() if name != "dbname"}
    return f"postgresql:///{quote(parameters['dbname'])}?{urlencode(query)}"


class Database:
    def __init__(self, name: str, user: str = "", password: str = "") -> None:
        self.name, self.user, self.password = name, user, password

    def connect(self) -> psycopg.Connection[Any]:
        """Open a session in autocommit mode."""
        return psycopg.connect(make_conninfo(**self._parameters()), autocommit=True)

    def query(self, statement: str, *parameters: object) -> list[Any]:
        """Return the first column of every row."""
        with self.connect() as session:
            return [row[0] for row in session.execute(statement.encode(), parameters or None).fetchall()]

    def execute(self, statement: str) -> None:
        with self.connect() as session:
            session.execute(statement.encode())

    def has(self, relation: str) -> bool:
        return bool(self.query("SELECT to_regclass(%s) IS NOT NULL", relation)[0])

    def version(self) -> int:
        """Return the number of applied migrations, also during the first migration."""
        return int(self.query("SELECT count(*) FROM schema_version")[0]) if self.has("schema_version") else 0

    def waits_for_a_lock(self) -> bool:
        """Return whether a session in this database waits for a table, a transaction or a snapshot."""
        return bool(self.query("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"))

    def start(self, *arguments: str, settings: str = "tests.settings", **variables: str) -> subprocess.Popen[str]:
        """Start ``manage.py`` with additional environment variables."""
        environment = untraced() | {"DATABASE_URL": self.url(), "DJANGO_SETTINGS_MODULE": settings, "PYTHONWARNINGS": "error"} | variables
        return start_python(environment, "manage.py", *arguments)

    def manage(self, *arguments: str, settings: str = "tests.settings", **variables: str) -> tuple[int, str, str]:
        """Return the exit code, stdout, and stderr without lines of progress, of ``manage.py``."""
        return ended(self.start(*arguments, settings=settings, **variables))

    def _parameters(self) -> dict[str, str]:
        return database_parameters() | {"dbname": self.name} | ({"user": self.user, "password": self.password} if self.user else {})

    def url(self) -> str:
        return url_of(self._parameters())


@contextmanager
def database(template: str = "template0", owner: str | None = None, encoding: str | None = None) -> Iterator[Database]:
    """Create a database, and drop it afterwards.

    With an ``encoding`` it has the locale C, because every encoding supports it.
    """
    name = f"test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{secrets.token_hex(6)}"
    server = Database("postgres")
    with server.connect() as session:
        session.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} {} {}").format(
                sql.Identifier(name),
                sql.Identifier(template),
                sql.SQL("OWNER {}").format(sql.Identifier(owner)) if owner else sql.SQL(""),
                sql.SQL("ENCODING {} LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'").format(encoding) if encoding else sql.SQL(""),
            )
        )
    try:
        yield Database(name)
    finally:
        with server.connect() as session:
            session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def role() -> Iterator[tuple[str, str]]:
    """Create a role that can only log in. Return its name and password. Drop its objects before the block ends."""
    name, password = f"test_{secrets.token_hex(6)}", secrets.token_hex(12)
    server = Database("postgres")
    server.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    try:
        yield name, password
    finally:
        server.execute(f"DROP ROLE {name}")


@contextmanager
def use_database(database: Database) -> Iterator[None]:
    """Connect Django to the database, in every thread that opens a connection."""
    before = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = database.name
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = before


def django_error(cause: Exception) -> OperationalError:
    """Return the error that Django raises for an error of psycopg."""
    error = OperationalError(*cause.args)
    error.__cause__ = cause
    return error
