"""A database of a version before the first release is refused and not changed."""

from __future__ import annotations

import pytest
from django.db import connection

from findme.core.errors import UserFacingError
from findme.migrator.earlier_schema import require_current_names
from findme.migrator.migrate import apply_migrations
from tests.findme.migrator.catalog import catalog
from tests.findme.migrator.undoing import PERSON
from tests.support.database import Database

NAMES = {
    "migrations of the app 'findme'": "UPDATE django_migrations SET app = 'findme' WHERE app = 'migrator'",
    "the column 'matches.lower_user_id'": "ALTER TABLE matches ADD lower_user_id uuid GENERATED ALWAYS AS (least(user_id, matched_user_id)) STORED",
    "the table 'vector_sync_aside'": "ALTER TABLE vector_sync_quarantine RENAME TO vector_sync_aside",
}


@pytest.fixture(params=NAMES)
def earlier(request: pytest.FixtureRequest, migrated: Database) -> tuple[Database, str]:
    migrated.execute(PERSON)
    migrated.execute(NAMES[request.param])
    return migrated, request.param


def everything(database: Database) -> list[str]:
    return [
        *catalog(database),
        *database.query("SELECT concat(id, app, name, applied) FROM django_migrations"),
        *database.query("SELECT email FROM users"),
    ]


@pytest.mark.at_length(every=20)
@pytest.mark.parametrize(
    "arguments",
    [("migrate",), ("migrate", "--check"), ("rollback", "--no-input"), ("rollback", "--dry-run"), ("init_qdrant",)],
    ids=" ".join,
)
def test_earlier_database__is_refused_in_one_line_and_not_changed(earlier: tuple[Database, str], arguments: tuple[str, ...]) -> None:
    database, found = earlier
    before = everything(database)
    refusal = f"The database {database.name!r} was created by an earlier version (it has {found}): nothing was changed."
    assert database.manage(*arguments) == (2, "", f"{refusal} Set DATABASE_URL to an empty database, then run manage.py migrate.\n")
    assert everything(database) == before


def test_earlier_database__a_service_does_not_change_it(earlier: tuple[Database, str]) -> None:
    database, _ = earlier
    before = everything(database)
    with pytest.raises(UserFacingError, match="was created by an earlier version"):
        apply_migrations()
    assert everything(database) == before


def test_earlier_database__embedded__names_its_folder(earlier: tuple[Database, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "ENGINE", "findme.embedded.backend")
    with pytest.raises(UserFacingError, match=r"Set EMBEDDED_POSTGRES_DIR to a new folder, then run manage\.py migrate\.$"):
        require_current_names(connection)


@pytest.mark.parametrize("fixture", ["empty", "migrated"])
def test_current_database__passes(fixture: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(fixture)
    require_current_names(connection)
