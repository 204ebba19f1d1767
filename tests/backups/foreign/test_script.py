"""What psql may read of a dump. Generated scripts are judged by psql itself."""

from __future__ import annotations

import re
import subprocess
import tracemalloc
from collections.abc import Iterator, Sequence

import pytest
from django.db import connection
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from pytest_django import DjangoDbBlocker

from backups.foreign.script import LONGEST_TOKEN, Script
from backups.postgresql.connection import program_connection
from findme.core.errors import UserFacingError
from findme.core.postgresql.programs import find_program
from tests.support.database import database, use_database
from tests.support.waiting import DEADLINE_SECONDS

DUMP = rb"""--
-- PostgreSQL database dump
--

\restrict 0123abcXYZ

SET transaction_timeout = 0;
SET standard_conforming_strings = on;
SET client_encoding = 'UTF8';
CREATE FUNCTION public.f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END;
ALTER FUNCTION public.f() OWNER TO "Odd;role";
CREATE FUNCTION public."g;\"(a text DEFAULT '\') RETURNS text LANGUAGE plpgsql AS $_$ begin \! ; COMMIT; $$ ; end $_$;
BEGIN;
COMMIT;
COPY public.users (id, "from") FROM stdin;
1	\N\! x
\.x
2	;'"$$ /* --
\.


COPY public.none (id) FROM stdin;
\.


INSERT INTO public.t VALUES (1, 'it''s \', E'a\'b'
    'c\\!', E'it''s \'\\', /* /* \! */ ' */ '\', $1$ 2, "\", 1e5);
CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b);
ALTER TABLE public.users RENAME owner TO x;
GRANT SELECT ON TABLE public.t TO x;
REVOKE ALL ON TABLE public.t FROM x;
ALTER DEFAULT PRIVILEGES FOR ROLE x GRANT SELECT ON TABLES TO y;
SET SESSION AUTHORIZATION 'x';
COMMENT ON TABLE t IS '-- \!';
--
-- PostgreSQL database dump complete
--

\unrestrict 0123abcXYZ

"""
OMITTED = (
    rb"\restrict 0123abcXYZ",
    rb"\unrestrict 0123abcXYZ",
    b"SET transaction_timeout = 0;",
    b'ALTER FUNCTION public.f() OWNER TO "Odd;role";',
    b"BEGIN;",
    b"COMMIT;",
    b"GRANT SELECT ON TABLE public.t TO x;",
    b"REVOKE ALL ON TABLE public.t FROM x;",
    b"ALTER DEFAULT PRIVILEGES FOR ROLE x GRANT SELECT ON TABLES TO y;",
    b"SET SESSION AUTHORIZATION 'x';",
)
DUMP = DUMP.replace(b"$1$ 2", b"$1 + 2")


def passed(content: bytes | Sequence[bytes], server_major: int = 16) -> bytes:
    script = Script("a.sql", server_major)
    pieces = [content] if isinstance(content, bytes) else content
    return b"".join(map(script.feed, pieces)) + script.finish()


def test_script__only_rights_and_settings_are_left_out() -> None:
    script = Script("a.sql", 16)
    content = script.feed(DUMP) + script.finish()
    lines = [line for line in content.split(b"\n") if line]
    assert lines == [line for line in DUMP.split(b"\n") if line and line not in OMITTED]
    assert script.rights_left_out == 5


def test_script__a_setting_that_the_server_knows__is_kept() -> None:
    assert b"SET transaction_timeout = 0;" in passed(DUMP, 17)


@given(st.lists(st.integers(0, len(DUMP)), max_size=30))
def test_script__in_any_pieces__the_same(cuts: list[int]) -> None:
    ends = sorted(cuts)
    assert passed([DUMP[start:end] for start, end in zip([0, *ends], [*ends, len(DUMP)], strict=True)]) == passed(DUMP)


def test_script__byte_by_byte__the_same() -> None:
    assert passed([DUMP[n : n + 1] for n in range(len(DUMP))]) == passed(DUMP)


@pytest.mark.parametrize("end", [b"\\.\n", b"\\.\r\n", b"\\.", b"\\.\r"])
@pytest.mark.parametrize("rows", [b"", b"1\n", b"\\.x\n", b"x\\.\n"])
def test_script__end_of_rows(rows: bytes, end: bytes) -> None:
    content = b"COPY t FROM stdin;\n" + rows + end
    assert passed(content) == content
    assert passed([content[n : n + 1] for n in range(len(content))]) == content


REFUSED = {
    r"\! id": "Line 1 of 'a.sql' has the psql command .*'",
    "SELECT 1;\n\n SELECT 2 \\g | id": "Line 3 .*psql command",
    "\\connect x": "psql command",
    "\\i x": "psql command",
    "\\.": "psql command",
    "\\restrict": "psql command",
    "SELECT 1 \\restrict abc\n": "psql command",
    "\\restrict abc \\! id\n": "psql command",
    "SELECT 1 \\; SELECT 2": "psql command",
    "SELECT E'\\'' \\! id": "psql command",
    "SELECT '\\' \\! id": "psql command",
    "SELECT a$b$ \\! id $b$": "psql command",
    "SELECT $1$ \\! id $1$": "psql command",
    "SELECT 1e5$$ \\! id": "cut off",
    "SELECT 0x1F$$ \\! id": "cut off",
    "SELECT 1e'\\' \\! id '": "a number that ends with a letter",
    "SELECT 1a$$ \\! id $$": "a number that ends with a letter",
    "SELECT $1a$$ \\! id $$": "a number that ends with a letter",
    "SELECT 1e-- \\! id": "a number that ends with a letter",
    "/* /* */ */ \\! id": "psql command",
    "SELECT E'a' 'b' \\! id": "psql command",
    "SELECT E'a'\n'\\' \\! id": "psql command",
    "SELECT E'a''\\'' \\! '' \\\\' \\! id": "psql command",
    "CREATE DATABASE x;": r"CREATE DATABASE \(pg_dump --create\): nothing was restored",
    "create /* */ database x": "CREATE DATABASE",
    "ALTER DATABASE x SET a TO b;": "ALTER DATABASE",
    "CREATE ROLE x;": "CREATE ROLE, which is not part of one database",
    "CREATE USER x;": "CREATE USER",
    "ALTER SYSTEM SET a = b;": "ALTER SYSTEM",
    "--\n-- PostgreSQL database cluster dump\n--\n": "Line 2 .*header of pg_dumpall",
    "ROLLBACK;": "ROLLBACK, which would end the one transaction",
    "COMMIT AND CHAIN;": "COMMIT AND",
    "END PREPARED;": "END",
    "PREPARE TRANSACTION 'x';": "PREPARE TRANSACTION",
    "SAVEPOINT x;": "SAVEPOINT",
    "CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'SELECT 1'; COMMIT; SELECT 1;": "COMMIT",
    "CREATE PROCEDURE begin() LANGUAGE sql AS ''; DROP DATABASE x": "DROP DATABASE",
    "COPY t TO stdout;": "COPY with a file",
    "COPY t FROM PROGRAM 'id';": "COPY with a file",
    "COPY t (\"from\", stdin) FROM '/etc/passwd';": "COPY with a file",
    "COPY t FROM stdin; SELECT 1;\n1\n\\.\n": "text after COPY",
    "DROP TABLE x;": "DROP without IF EXISTS",
    "SET standard_conforming_strings = off;": "standard_conforming_strings",
    "SET client_encoding = 'SJIS';": "the encoding SJIS",
    "SET NAMES 'GBK';": "the encoding GBK",
    "SELECT 1;\0": "a byte with the value 0",
}


@pytest.mark.parametrize("content", REFUSED)
def test_script__refused(content: str) -> None:
    for pieces in ([content.encode()], [bytes([byte]) for byte in content.encode()]):
        with pytest.raises(UserFacingError, match=REFUSED[content]) as raised:
            passed(pieces)
        assert "nothing was restored" in str(raised.value)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [
        "SELECT 'x",
        'SELECT "x',
        "SELECT E'x\\'",
        "SELECT $$x",
        "SELECT $a$x$b$",
        "/* /* */",
        "COPY t FROM stdin;\n1\n2",
        "COPY t FROM stdin;\n1\n\\",
        "COPY t FROM stdin;",
        "-- PostgreSQL database dump\nSELECT 1;\n",
    ],
)
def test_script__cut_off(content: str) -> None:
    with pytest.raises(UserFacingError, match="is cut off: its end is missing, so nothing was restored"):
        passed(content.encode())


@pytest.mark.parametrize("content", ["SELECT E'x'", "SELECT E'x'\n", "SELECT 1", "SELECT 1;", "", "-- x", "a$b", "$", "1 /", "2 -"])
def test_script__whole(content: str) -> None:
    assert passed(content.encode()) == content.encode()


def long_parts() -> Iterator[bytes]:
    yield b"COPY t FROM stdin;\n"
    for _ in range(50):
        yield b"1\t" + b"x" * (LONGEST_TOKEN - 3) + b"\n"
    yield b"\\.\nINSERT INTO t VALUES ('"
    for _ in range(50):
        yield b"x" * LONGEST_TOKEN
    yield b"');\nCREATE FUNCTION f() AS $a$"
    for _ in range(50):
        yield b"$x" * (LONGEST_TOKEN // 2)
    yield b"$a$;\nALTER TABLE t ADD CHECK (a IN ("
    for _ in range(50):
        yield b"'" + b"x" * (LONGEST_TOKEN // 4) + b"',"
    yield b"'x'));\n"


def test_script__memory_is_constant() -> None:
    script = Script("a.sql", 18)
    tracemalloc.start()
    try:
        for part in long_parts():
            script.feed(part)
        script.finish()
        assert tracemalloc.get_traced_memory()[1] < 10 * LONGEST_TOKEN
    finally:
        tracemalloc.stop()


def test_script__a_word_without_an_end__is_refused() -> None:
    script = Script("a.sql", 18)
    script.feed(b"x" * LONGEST_TOKEN)
    with pytest.raises(UserFacingError, match="a word or a comment that is too long"):
        script.feed(b"x")


MARK = "mark-of-psql"
NUMBER_WITH_LETTER = re.compile(r"(?<![A-Za-z_$é])\$?[0-9]+[A-Za-z_é]")
COMMAND = f"\\echo {MARK}\n"
TEXT = st.text(alphabet="aeE1_$'\"\\;-/*() \n:,é", max_size=6)
PARTS = st.one_of(
    st.just(COMMAND),
    st.sampled_from(
        [
            "'",
            "''",
            '"',
            "$$",
            "$a$",
            "$1",
            "--",
            "/*",
            "*/",
            "\n",
            " ",
            ";",
            "(",
            ")",
            "E'",
            "e",
            "a",
            "\\\\",
            "1",
            "U&'",
            "$",
            "-",
            "/",
            "begin",
            "end",
        ]
    ),
    st.tuples(st.sampled_from(["'", "E'", "$$", "$b$", '"', "/*", "--"]), TEXT).map("".join),
)


def runs_in_psql(script: str) -> bool:
    """Return whether psql runs the command in the script. Its statements are not sent: the server has no part in how psql reads."""
    found = program_connection(connection)
    command = [str(find_program("psql", 18).path), "-X", "-q", f"--dbname={found.conninfo}", "--no-password", "--file=-"]
    ran = subprocess.run(command, input=script.encode(), env=found.environment, capture_output=True, timeout=DEADLINE_SECONDS, check=False)
    return MARK.encode() in ran.stdout.splitlines()


@pytest.fixture(scope="module")
def judge(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock(), database() as made, use_database(made):
        yield


def refused_by_script(content: str) -> str | None:
    """Return the command of psql for which the script is refused, or None."""
    try:
        passed(content.encode())
    except UserFacingError as error:
        found = re.search(r"the psql command (['\"])(.*)\1, which", str(error))
        return found and found[2]
    return None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(PARTS, max_size=12).map("".join))
@example("E'a'\n'b\\'" + COMMAND)
@example("''''\\'" + COMMAND)
@example("E'a' --\n'b\\'" + COMMAND)
@example("E'a' 'b\\'" + COMMAND)
@example("a$b$" + COMMAND)
@example("$1$a$" + COMMAND)
@example("1e+5$$" + COMMAND)
@example("1e5$$" + COMMAND)
@example("0x1F$$" + COMMAND)
@example("$1$$" + COMMAND)
@example("$e'\\'" + COMMAND)
@example("/*/*/*/" + COMMAND)
@example("U&'\\'" + COMMAND)
@example("--\r" + COMMAND)
@example("COPY t FROM stdin;\n" + COMMAND + "\\.\n")
def test_script__refuses_what_psql_runs(judge: None, content: str) -> None:
    """Only the first command is compared: a script with others is refused anyway."""
    first, _, _ = content.partition(COMMAND)
    content = first + COMMAND
    refused = refused_by_script(content)
    assume(refused in (None, r"\\echo") and not NUMBER_WITH_LETTER.search(first))
    assert (refused is not None) == runs_in_psql(content)
