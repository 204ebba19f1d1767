"""The base of the commands: exit codes, and one line for an error that a user can cause."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, get_commands, load_command_class
from django.db import DatabaseError, OperationalError, connection, transaction
from rich.console import Console

from findme.core.commands.base import FindmeCommand
from findme.core.commands.explanations import explain_error
from findme.core.errors import StoreUnavailable, UserFacingError, one_line
from findme.environment import BASE_DIR
from tests.support.processes import environment_of


class Command(FindmeCommand):
    """A command that runs the function ``deed``."""

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
        """Run it as from the command line and return the exit code."""
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
    with pytest.raises(DatabaseError) as caught, transaction.atomic(), connection.cursor() as cursor:  # noqa: PT012  # or the fetch raises
        cursor.execute(sql)
        cursor.fetchall()
    return caught.value


def on_a_terminal(command: list[str], **settings: str) -> tuple[int, str]:
    """Return the exit code and the output of the terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=BASE_DIR, env=environment_of(TERM="xterm", **settings)
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the end of a terminal on Linux
                break
            if not part:
                break
            shown += part
    os.close(ours)
    return process.returncode, shown.decode()


def test_command__done_without_findings() -> None:
    command = Command(lambda self: self.print_line("done"))
    assert (command.run(), command.out.getvalue(), command.err.getvalue()) == (0, "done\n", "")


def test_command__exit_with_findings() -> None:
    assert Command(lambda self: self.exit_with_findings()).run() == 1


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserFacingError("no 'x':\n  make one"), "no 'x': make one"),
        (StoreUnavailable("away"), "away"),
        (ImproperlyConfigured("unset"), "unset"),
        (OperationalError("refused\nreally"), "PostgreSQL: refused really"),
        (FileNotFoundError(2, "No such file or directory", "a.npz"), "a.npz: No such file or directory"),
        (CommandError("wrong"), "wrong"),
    ],
)
def test_command__user_facing_error_is_one_line_and_exit_2(error: Exception, line: str) -> None:
    command = Command(failing(error))
    assert (command.run(), command.out.getvalue(), command.err.getvalue()) == (2, "", f"{line}\n")


def test_command__called_from_python_it_raises() -> None:
    with pytest.raises(CommandError, match=r"^away$") as caught:
        Command(failing(StoreUnavailable("away"))).execute(force_color=False, no_color=True, skip_checks=True, traceback=False)
    assert caught.value.returncode == 2


def test_command__a_defect_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        Command(failing(ZeroDivisionError())).run()


def test_command__traceback_option() -> None:
    with pytest.raises(UserFacingError):
        Command(failing(UserFacingError("no"))).run("--traceback")


def test_command__interrupted() -> None:
    command = Command(failing(KeyboardInterrupt()))
    assert command.run() == 130
    assert command.err.getvalue() == "test_base: interrupted. Run it again: it continues where it stopped.\n"


def test_command__a_wrong_argument_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert Command(lambda _: None).run("--number", "many") == 2
    assert capsys.readouterr().err == "argument --number: invalid int value: 'many'. See manage.py deed --help\n"


def test_command__json() -> None:
    @dataclass(frozen=True)
    class Count:
        user_id: UUID
        names: frozenset[str]

    command = Command(lambda self: self.print_json(Count(UUID(int=1), frozenset({"b", "ä"}))))
    assert command.run() == 0
    assert json.loads(command.out.getvalue()) == {"user_id": "00000000-0000-0000-0000-000000000001", "names": ["b", "ä"]}


@pytest.mark.django_db
@pytest.mark.parametrize("sql", ["SELECT 1 FROM nowhere", "SELECT nothing FROM users"])
def test_explain_error__a_database_that_is_not_migrated(sql: str) -> None:
    line = explain_error(sql_error(sql))
    assert line is not None
    assert line.endswith("does not exist: the schema does not match this release. Run manage.py migrate.")


@pytest.mark.django_db
def test_explain_error__a_role_without_rights() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE findme_test_powerless")
        cursor.execute("SET LOCAL ROLE findme_test_powerless")
    line = explain_error(sql_error("SELECT 1 FROM users"))
    assert line == "PostgreSQL: permission denied for table users. Set a role with this permission in DATABASE_URL."


@pytest.mark.django_db
def test_explain_error__wrong_statement_of_the_program() -> None:
    assert explain_error(sql_error("SELEC")) is None


def test_one_line__error_without_text() -> None:
    assert one_line(KeyError()) == "KeyError"


def test_command__json_has_times_in_iso_8601() -> None:
    moment = datetime(2026, 11, 29, 14, 28, 47, tzinfo=UTC)
    command = Command(lambda self: self.print_json({"moment": moment, "day": moment.date(), "uuid": UUID(int=1)}))
    assert command.run() == 0
    assert json.loads(command.out.getvalue()) == {
        "moment": "2026-11-29T14:28:47+00:00",
        "day": "2026-11-29",
        "uuid": "00000000-0000-0000-0000-000000000001",
    }


@pytest.mark.parametrize(
    ("text", "encoding", "words"),
    [("cañon", "ascii", "U+00F1, which 'ascii' cannot encode"), ("\udcff", "utf-8", "U+DCFF, which UTF-8 cannot encode")],
)
def test_explain_error__a_text_that_cannot_be_written(text: str, encoding: str, words: str) -> None:
    with pytest.raises(UnicodeEncodeError) as raised:
        text.encode(encoding)
    line = explain_error(raised.value)
    assert line is not None and words in line and text not in line


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("sql", "line"),
    [
        ("SELECT 1 / 0", "PostgreSQL: division by zero"),
        ("SELECT 'ann@example.org'::varchar(3)::integer", 'PostgreSQL: invalid input syntax for type integer: "ann"'),
        ("SELECT '24:00'::time", "PostgreSQL: can't parse time"),
        ("SAVEPOINT s; RELEASE t", 'PostgreSQL: savepoint "t" does not exist'),
    ],
)
def test_explain_error__data_that_cannot_be_read(sql: str, line: str) -> None:
    assert explain_error(sql_error(sql)) == line


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("search_profiles", "Nothing was changed."),
        ("verify_qdrant", "Run it again: it compares from the beginning. What --repair did before stays done."),
        ("export_user", "No file was written."),
        ("schema_version", "Nothing was changed."),
        ("rollback", "Migrations already undone stay undone: manage.py schema_version shows the current version."),
        ("sync_qdrant", "Run it again: it continues where it stopped."),
        ("reindex_qdrant", "Run it again: it continues where it stopped."),
    ],
)
def test_command__interrupted__each_has_its_own_text(
    name: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = load_command_class(get_commands()[name], name)

    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "handle", interrupted)
    monkeypatch.setattr(command, "_called_from_command_line", True)
    with pytest.raises(SystemExit) as ended:
        command.execute(force_color=False, no_color=True, skip_checks=True, traceback=False)
    assert ended.value.code == 130
    assert capsys.readouterr().err == f"{name}: interrupted. {words}\n"


@pytest.mark.at_length
@pytest.mark.parametrize("said", [{"NO_COLOR": "1"}, {}])
def test_command__no_color(said: dict[str, str]) -> None:
    code, out = on_a_terminal([sys.executable, "manage.py", "help"], **said)
    assert code == 0
    assert ("\x1b[" in out) is (not said)


def test_command__no_color_option_applies_to_the_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    colors: list[bool] = []
    command = Command(lambda self: colors.append(Console(force_terminal=True).no_color))
    assert command.run() == command.run("--no-color") == 0
    assert colors == [False, True]
