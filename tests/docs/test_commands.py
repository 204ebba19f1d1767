"""The page of the commands lists exactly the commands of FindMe, with their options, keys and output."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from functools import cache
from io import StringIO
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import CommandParser, call_command, get_commands, load_command_class

from accounts.confirmation import Unconfirmed
from accounts.management.commands.unlock_login import Unlocked
from backups.listing import Listed
from backups.management.commands.prepare_restored_database import Prepared
from backups.manifest import Manifest
from backups.proof.deep import Proof
from backups.proof.status import BackupStatus, FailedProof, LastBackup, LastProof
from backups.prune import Pruned
from backups.restoring.old_databases import OldDatabase
from backups.restoring.restore import Restored, RestoredPoints
from backups.restoring.tables import TableResult
from backups.verify import Verified as VerifiedBackup
from findme.environment import BASE_DIR
from findme.migrator.baseline.inspection import Report
from findme.migrator.undo.rollback import RolledBack
from findme.migrator.version import SchemaVersion
from privacy.actions.export import Exported
from privacy.actions.holds import Held
from privacy.actions.outcome import Outcome
from privacy.actions.replay import Replayed
from privacy.certificates.contents import Certificate
from privacy.ledger.verify import LedgerComparison
from privacy.management.commands.apply_retention import Applied
from privacy.management.commands.export_user import PrintedLink
from privacy.management.commands.ledger_keys import LedgerKeys
from privacy.management.commands.undo_erasure import Undone
from privacy.processing_register import ProcessingRegister
from privacy.requests.jobs import Processed
from privacy.requests.summary import RequestSummary
from tests.docs.pages import DOCS, blocks, code, page, rows, sections, typed
from tests.docs.source import is_printed, texts
from vectorstore.ingest.from_qdrant.results import Imported
from vectorstore.ingest.load import Loaded
from vectorstore.projection.ages import Refreshed
from vectorstore.purge.purge import PurgeResult
from vectorstore.rebuild.reindex import Reindexed
from vectorstore.snapshots.repository import DownloadResult, SnapshotList
from vectorstore.snapshots.restore import RestoreResult
from vectorstore.sync.results import SyncResult
from vectorstore.verification.verify import Verified

PAGE = page("reference/commands.md")
SECTIONS = sections(PAGE)
GENERAL = ("Exit codes", "Options of all commands")
RESULTS: dict[str, list[type]] = {
    "baseline": [Report],
    "rollback": [RolledBack],
    "schema_version": [SchemaVersion],
    "upsert_embeddings": [Loaded],
    "import_embeddings": [Imported],
    "sync_qdrant": [SyncResult],
    "refresh_ages": [Refreshed],
    "verify_qdrant": [Verified],
    "reindex_qdrant": [Reindexed],
    "qdrant_snapshot": [SnapshotList, DownloadResult, RestoreResult],
    "purge_qdrant": [PurgeResult],
    "backup": [Manifest],
    "list_backups": [Listed],
    "verify_backup": [VerifiedBackup, Proof],
    "restore_drill": [Proof],
    "backup_status": [BackupStatus, LastBackup, LastProof, FailedProof],
    "restore": [Restored, RestoredPoints, TableResult, OldDatabase],
    "prune_backups": [Pruned, Listed],
    "export_user": [Exported, PrintedLink],
    "hold_user": [Held],
    "release_hold": [Held],
    "anonymize_user": [Outcome],
    "erase_user": [Outcome],
    "restrict_user": [Outcome],
    "stop_matching": [Outcome],
    "undo_erasure": [Undone],
    "processing_register": [ProcessingRegister],
    "apply_retention": [Applied],
    "privacy_request": [RequestSummary],
    "process_requests": [Processed],
    "replay_erasures": [Replayed],
    "verify_ledger": [LedgerComparison],
    "verify_certificate": [Certificate],
    "ledger_keys": [LedgerKeys],
    "unlock_login": [Unlocked],
    "confirm_staff": [Unconfirmed],
    "prepare_restored_database": [Prepared],
}
"""Results that the commands print with ``--json``."""
MORE = {
    "anonymize_user": {"k"},
    "confirm_staff": {"confirmed", "left", "unconfirmed"},
    "list_backups": {"backups"},
    "prune_backups": {"dry_run"},
    "restore": {"dry_run", "tables", "databases"},
    "restore_drill": {"manifest", "proof"},
    "verify_backup": {"proof"},
    "privacy_request": {"requests", "total", "contact", "preview"},
    "purge_qdrant": {"clean", "purged"},
    "qdrant_snapshot": {"dry_run", "create", "delete", "prune", "list", "download", "restore"},
}
"""Further keys on the page: those around a result, and names of actions."""
OUTPUT_OF_DJANGO = {"migrate", "createsuperuser", "changepassword", "loaddata", "sqlflush"}
COMPOSED = re.compile(
    r"\.\.\.|\d+  [\d-]+ [\d:]+  \S+|\d+ snapshots? created\.|\w+-\w+  [\d-]+ [\d:]+ UTC  [\d,]+ bytes  complete  not encrypted"
)
"""Lines that the code composes from short texts."""
VALUES = {"ID": "00000000-0000-0000-0000-000000000001"}
"""Values for placeholders in the shown commands."""
EFFECT = re.compile(r"(.+): \d+, (?:kept|held|hidden|shown again|reduced|cleared|deleted)")


@cache
def commands() -> dict[str, CommandParser]:
    """Return the parsers of FindMe's commands."""
    ours = {app.name for app in apps.get_app_configs() if (BASE_DIR / app.name.partition(".")[0]).is_dir()}
    found = {name: load_command_class(app, name) for name, app in get_commands().items() if app in ours}
    return {name: command.create_parser("manage.py", name) for name, command in found.items()}


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the options of the parser, without those of its subparsers."""
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            yield from action.option_strings


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


def named(body: str) -> set[str]:
    """Return the options in the first column of the tables."""
    return {option for row in rows(body) for option in re.findall(r"`(-[\w-]+)", row[0])}


def test_commands__each_has_a_section() -> None:
    assert [name for name in SECTIONS if name not in GENERAL] == [name for name in SECTIONS if name in commands()]
    assert commands().keys() == SECTIONS.keys() - set(GENERAL)


def test_commands__options_of_all_commands_are_those_of_django() -> None:
    assert named(SECTIONS[GENERAL[1]]) == set(options(CommandParser(prog="manage.py"))) | {
        "--version",
        "--verbosity",
        "-v",
        "--settings",
        "--pythonpath",
        "--traceback",
        "--no-color",
        "--force-color",
        "--skip-checks",
        "--help",
    }


@pytest.mark.parametrize("name", sorted(commands()))
def test_commands__each_option_has_its_row(name: str) -> None:
    general = named(SECTIONS[GENERAL[1]])
    parser, body = commands()[name], SECTIONS[name]
    for sub, of_sub in subparsers(parser).items():
        assert named(sections(body, 3)[f"{name} {sub}"]) == set(options(of_sub)) - general
    if not subparsers(parser):
        assert named(body) == set(options(parser)) - general
    assert all(len(row) == 2 and all(row) and row[1] != "???" for row in rows(body))


@pytest.mark.parametrize("name", sorted(commands()))
def test_commands__each_positional_argument_has_its_row(name: str) -> None:
    parsers = subparsers(commands()[name]) or {name: commands()[name]}
    expected = [action for parser in parsers.values() for action in parser._actions if not action.option_strings]
    shown = [row[0] for row in rows(SECTIONS[name]) if not row[0].startswith("`-")]
    assert len(shown) == len(expected)


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_commands__keys_of_json_are_those_of_the_result(name: str) -> None:
    [line] = re.findall(r"^Keys of `--json`: (.+)$", SECTIONS[name], re.MULTILINE)
    keys = {field.name for result in RESULTS[name] for field in fields(result)}
    assert set(code(line)) == keys | MORE.get(name, set())


def test_commands__only_two_others_have_json() -> None:
    with_json = {
        name for name, parser in commands().items() if all("--json" in options(one) for one in [*subparsers(parser).values()] or [parser])
    }
    assert with_json == RESULTS.keys() | {"init_qdrant", "search_profiles"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("option", ["--plan", "--check"])
def test_init_qdrant__keys_of_json(embedded_qdrant: Path, option: str) -> None:
    [line] = re.findall(r"^Keys of `--json`: (.+)$", SECTIONS["init_qdrant"], re.MULTILINE)
    always, _, _changed = line.partition(", after a change ")
    stdout = StringIO()
    with suppress(SystemExit):  # exit code 1, because there is no collection yet
        call_command("init_qdrant", option, "--json", stdout=stdout)
    checked = {"triggers", "comparison_due_at"} if option == "--check" else set()
    assert set(json.loads(stdout.getvalue())) == set(code(always)) | checked
    assert checked <= set(code(line))
    folder = BASE_DIR / "vectorstore" / "management"
    source = "".join((folder / name).read_text(encoding="utf-8") for name in ("commands/init_qdrant.py", "adoption_report.py"))
    assert [key for key in code(line) if not key.startswith("--") and f'"{key}"' not in source] == []


@pytest.mark.parametrize("name", sorted(commands()))
def test_commands__examples__can_be_parsed(name: str) -> None:
    shown = [line.removeprefix("$ ") for block in blocks(SECTIONS[name], "console") for line in block.splitlines() if line.startswith("$ ")]
    for line in shown:
        python, script, command, *arguments = shlex.split(line)
        assert (python, script, command) == ("python", "manage.py", name)
        commands()[name].parse_args(arguments)
    assert shown or name in ("flush", "demo")


@pytest.mark.parametrize("name", sorted(commands().keys() - OUTPUT_OF_DJANGO))
def test_commands__output_is_in_the_code(name: str) -> None:
    for block in blocks(SECTIONS[name], "console"):
        for line in [] if re.search(r"^[{\[]", block, re.MULTILINE) else block.splitlines():
            effect = EFFECT.fullmatch(line.strip())
            words = effect[1] if effect else line.strip()
            assert line.startswith("$ ") or COMPOSED.fullmatch(words) or words in texts() or is_printed(words), line


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: path.relative_to(DOCS).as_posix())
def test_pages__every_command_that_is_shown_is_understood(path: Path) -> None:
    """This covers the blocks ``console`` and ``bash`` of every page."""
    for line in typed(path):
        if found := re.match(r"(?:python |\.venv/bin/python )?(?:\./)?manage\.py (\w+)(.*)", line):
            name, arguments = found[1], [VALUES.get(word, word) for word in shlex.split(found[2])]
            if name in commands() and not re.search(r"[<>|&\[\]$;]|\.\.\.", found[2]):
                commands()[name].parse_args(arguments)
