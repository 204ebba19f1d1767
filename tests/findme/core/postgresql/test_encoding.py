from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.management import call_command
from pytest_django import DjangoDbBlocker

from findme.core.errors import UserFacingError
from findme.migrator.migrate import apply_migrations
from tests.findme.migrator.catalog import catalog
from tests.support.database import Database, database, use_database


@pytest.fixture(params=["SQL_ASCII", "LATIN1"])
def other_encoding(request: pytest.FixtureRequest, django_db_blocker: DjangoDbBlocker) -> Iterator[tuple[Database, str]]:
    with django_db_blocker.unblock(), database(encoding=request.param) as made, use_database(made):
        yield made, request.param


def problem(made: Database, encoding: str) -> str:
    return f"The database '{made.name}' has the encoding {encoding}, but FindMe needs UTF8"


@pytest.mark.at_length
def test_migrate__not_utf8__is_rejected_in_one_line_and_creates_nothing(other_encoding: tuple[Database, str]) -> None:
    made, _ = other_encoding
    before = catalog(made)
    code, out, err = made.manage("migrate")
    assert (code, out) == (2, "")
    assert err == (
        f"{problem(*other_encoding)}: nothing was changed. Run createdb --encoding UTF8 --template template0 NAME,"
        " then set that database in DATABASE_URL.\n"
    )
    assert catalog(made) == before


def test_apply_migrations__not_utf8__is_not_done(other_encoding: tuple[Database, str]) -> None:
    with pytest.raises(UserFacingError, match=r"^The database .* but FindMe needs UTF8: nothing was changed\."):
        apply_migrations()
    assert not other_encoding[0].has("django_migrations")


def test_schema_version_check__not_utf8__names_it(other_encoding: tuple[Database, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as found:
        call_command("schema_version", check=True)
    assert found.value.code == 1
    assert f"problem: {problem(*other_encoding)}" in capsys.readouterr().out.splitlines()


@pytest.mark.at_length
def test_schema_version__explicit_utf8__is_no_problem(django_db_blocker: DjangoDbBlocker, capsys: pytest.CaptureFixture[str]) -> None:
    with django_db_blocker.unblock(), database(encoding="UTF8") as made, use_database(made):
        apply_migrations()
        call_command("schema_version", check=True)
    assert "problem" not in capsys.readouterr().out
