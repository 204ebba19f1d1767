"""The base of the commands: its exit codes, and one line for what a person can cause."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError
from django.db import DatabaseError, OperationalError, connection, transaction

from findme.console.command import FindmeCommand, what_went_wrong
from findme.console.errors import NotDone, StoreUnavailable, one_line


class Command(FindmeCommand):
    """Does what it is told."""

    requires_system_checks = []

    def __init__(self, deed: Callable[[Command], None]) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        super().__init__(stdout=self.out, stderr=self.err, no_color=True)
        self.deed = deed

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--number", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        self.deed(self)

    def run(self, *arguments: str) -> int:
        """As from the command line; the exit code."""
        try:
            self.run_from_argv(["manage.py", "deed", *arguments])
        except SystemExit as end:
            return int(end.code or 0)
        return 0


def failing(error: BaseException) -> Callable[[Command], None]:
    def deed(_: Command) -> None:
        raise error

    return deed


def sql_error(sql: str) -> DatabaseError:
    with pytest.raises(DatabaseError) as caught, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)
    return caught.value


def test_command__done_and_clean() -> None:
    command = Command(lambda self: self.say("done"))
    assert (command.run(), command.out.getvalue(), command.err.getvalue()) == (0, "done\n", "")


def test_command__something_to_look_at() -> None:
    assert Command(lambda self: self.something_to_look_at()).run() == 1


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (NotDone("no 'x':\n  make one"), "no 'x': make one"),
        (StoreUnavailable("away"), "away"),
        (ImproperlyConfigured("unset"), "unset"),
        (OperationalError("refused\nreally"), "PostgreSQL: refused really"),
        (FileNotFoundError(2, "No such file or directory", "a.npz"), "a.npz: No such file or directory"),
        (CommandError("wrong"), "wrong"),
    ],
)
def test_command__what_a_person_can_cause_is_one_line_and_exit_2(error: Exception, line: str) -> None:
    command = Command(failing(error))
    assert (command.run(), command.out.getvalue(), command.err.getvalue()) == (2, "", f"{line}\n")


def test_command__called_from_python_it_raises() -> None:
    with pytest.raises(CommandError, match=r"^away$") as caught:
        Command(failing(StoreUnavailable("away"))).execute(force_color=False, no_color=True, skip_checks=True, traceback=False)
    assert caught.value.returncode == 2


def test_command__a_defect_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        Command(failing(ZeroDivisionError())).run()


def test_command__a_traceback_that_is_asked_for() -> None:
    with pytest.raises(NotDone):
        Command(failing(NotDone("no"))).run("--traceback")


def test_command__interrupted() -> None:
    command = Command(failing(KeyboardInterrupt()))
    assert command.run() == 130
    assert command.err.getvalue() == "test_command: interrupted. Run it again: it goes on from where it is.\n"


def test_command__a_wrong_argument_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert Command(lambda _: None).run("--number", "many") == 2
    assert capsys.readouterr().err == "argument --number: invalid int value: 'many'. See manage.py deed --help\n"


def test_command__json() -> None:
    @dataclass(frozen=True)
    class Count:
        user_id: UUID
        names: frozenset[str]

    command = Command(lambda self: self.say_json(Count(UUID(int=1), frozenset({"b", "ä"}))))
    assert command.run() == 0
    assert json.loads(command.out.getvalue()) == {"user_id": "00000000-0000-0000-0000-000000000001", "names": ["b", "ä"]}


@pytest.mark.django_db
@pytest.mark.parametrize("sql", ["SELECT 1 FROM nowhere", "SELECT nothing FROM users"])
def test_what_went_wrong__a_database_that_is_not_migrated(sql: str) -> None:
    line = what_went_wrong(sql_error(sql))
    assert line is not None
    assert line.endswith("does not exist: the schema is not the one of this release. Run manage.py migrate.")


@pytest.mark.django_db
def test_what_went_wrong__a_role_without_rights() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE findme_test_powerless")
        cursor.execute("SET LOCAL ROLE findme_test_powerless")
    line = what_went_wrong(sql_error("SELECT 1 FROM users"))
    assert line == "PostgreSQL: permission denied for table users: use a role that may, in DATABASE_URL."


@pytest.mark.django_db
def test_what_went_wrong__a_statement_of_ours_that_is_wrong() -> None:
    assert what_went_wrong(sql_error("SELEC")) is None


def test_one_line__an_error_without_words() -> None:
    assert one_line(KeyError()) == "KeyError"
