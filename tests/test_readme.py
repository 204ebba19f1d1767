"""README and changelog: the commands run, and the links exist."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
from django.contrib.auth.hashers import is_password_usable
from django.core.management import call_command, get_commands

from accounts.models import User
from findme.core.version import __version__
from findme.environment import BASE_DIR, REQUIRED_IN_PRODUCTION
from tests.support.commands import environment, parser_of
from vectorstore.models import VECTOR_SIZE

README = (BASE_DIR / "README.md").read_text(encoding="utf-8")
CHANGELOG = (BASE_DIR / "CHANGELOG.md").read_text(encoding="utf-8")
MAKEFILE = (BASE_DIR / "Makefile").read_text(encoding="utf-8")
TYPED = [
    line.removeprefix("$ ")
    for block in re.findall(r"^```console\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
MANAGED = [line for line in TYPED if line.startswith("python manage.py ")]
LINKS = sorted(set(re.findall(r"\]\(([^)]+)\)", README + CHANGELOG)))
ASKS = ("anonymize_user", "erase_user", "restrict_user", "stop_matching")
NOT_HERE = (
    "createsuperuser",
    "check",
    "collectstatic",
    "sync_qdrant --watch",
    "qdrant_snapshot",
    "purge_qdrant",
    "import_embeddings",
    "backup",
    "list_backups",
    "restore",
)
"""Commands that this test does not run. They ask questions, need production settings, a server or a folder of their own, or do not end. Other tests cover them."""


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


def test_readme__shows_commands() -> None:
    assert len(MANAGED) > 10
    assert all(line.startswith(("make ", "python manage.py ", "cp ", "docker compose ")) for line in TYPED)


@pytest.mark.parametrize("line", MANAGED)
def test_readme__every_command_can_be_parsed(line: str) -> None:
    command, *arguments = shlex.split(line)[2:]

    parser_of(command).parse_args(arguments)


def test_readme__every_named_command_and_target_exists() -> None:
    assert set(re.findall(r"`?make ([a-z]+)`?", "\n".join([*TYPED, *re.findall(r"`(make [a-z]+)`", README)]))) <= targets()
    named = re.findall(r"`([a-z]+_[a-z]+)(?: [^`]*)?`", CHANGELOG)
    tables = {"video_calls", "profile_embeddings", "erased_users", "video_features"}
    assert {name for name in named if name not in tables} <= set(get_commands())


@pytest.mark.parametrize("option", ["--json", "--dry-run", "--no-input"])
def test_readme__promised_options_exist(option: str) -> None:
    promised = {
        "--json": [
            "schema_version",
            "rollback",
            "init_qdrant",
            "upsert_embeddings",
            "sync_qdrant",
            "refresh_ages",
            "verify_qdrant",
            "reindex_qdrant",
            "purge_qdrant",
            "search_profiles",
            *ASKS,
            "export_user",
        ],
        "--dry-run": ["rollback", "reindex_qdrant", "purge_qdrant", *ASKS],
        "--no-input": ["rollback", *ASKS],
    }
    assert [command for command in promised[option] if option not in parser_of(command)._option_string_actions] == []


@pytest.mark.parametrize("link", [link for link in LINKS if not link.startswith("https://")])
def test_readme__every_linked_file_exists(link: str) -> None:
    assert (BASE_DIR / link.partition("#")[0]).is_file()


def test_readme__every_named_folder_exists() -> None:
    rows = re.findall(r"^\| ((?:`[a-z]+` ?)+)\|", README, re.MULTILINE)
    folders = [folder for row in rows for folder in re.findall(r"`([a-z]+)`", row)]

    assert len(folders) > 8
    assert [folder for folder in folders if not (BASE_DIR / folder).is_dir()] == []


def test_readme__its_settings_and_paths_exist() -> None:
    settings = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", README))
    documented = set(re.findall(r"^#?([A-Z_]+)=", (BASE_DIR / ".env.example").read_text(), re.MULTILINE))

    assert set(REQUIRED_IN_PRODUCTION) <= settings <= documented
    for path in re.findall(r"`(fixtures/[\w./]+)`", README):
        assert (BASE_DIR / path).exists()
    for application in re.findall(r"`(findme\.\w+):application`", README):
        assert importlib.util.find_spec(application)


def test_changelog__has_the_version_of_the_project() -> None:
    assert f"What {__version__} will be." in CHANGELOG or f"## [{__version__}]" in CHANGELOG


@pytest.mark.at_length
@pytest.mark.no_cover
@pytest.mark.django_db(transaction=True)
def test_readme__commands_run_one_after_another(
    embedded_qdrant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run them in a folder with the demo's fixtures and a file of embeddings as in the README."""
    (tmp_path / "fixtures").symlink_to(BASE_DIR / "fixtures")
    (tmp_path / "profiles.jsonl").write_text(json.dumps(sample_row()))
    monkeypatch.chdir(tmp_path)
    for line in MANAGED:
        command, *arguments = shlex.split(line)[2:]
        capsys.readouterr()
        if not line.removeprefix("python manage.py ").startswith(NOT_HERE):
            call_command(command, *arguments, *(["--no-input"] if command in ASKS else []))
        if command == "search_profiles":
            assert capsys.readouterr().out in README
            assert len(run_python(tmp_path)) == 5
    assert (tmp_path / "john.zip").is_file()
    assert (tmp_path / "rejects.jsonl").read_text() == ""
    assert not User.objects.filter(pk=UUID(str(sample_row()["user_id"]))).exists()
    assert not any(map(is_password_usable, User.objects.values_list("password", flat=True)))


def sample_row() -> dict[str, object]:
    """Return the row of the README with all 512 numbers."""
    [example] = re.findall(r"^\{.*\}$", README, re.MULTILINE)
    row: dict[str, object] = json.loads(example.replace("[0.0123, ...]", "[0.0123]"))
    assert f"with {VECTOR_SIZE} numbers in `vector`" in README
    return row | {"vector": [0.0123] * VECTOR_SIZE}


def run_python(folder: Path) -> list[str]:
    """Return the output of the README's script, run as a file next to the packages, without Django's environment variables."""
    [script] = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    [name] = re.findall(r"save this as `(\w+\.py)` next to `manage.py`", README)
    for package in ("findme", "accounts", "videos", "matching", "calls", "vectorstore", "privacy", "backups"):
        (folder / package).symlink_to(BASE_DIR / package)
    (folder / name).write_text(script)
    reported = {key: value for key, value in environment().items() if key not in ("DJANGO_SETTINGS_MODULE", "DEBUG", "PYTHONPATH")}
    ran = subprocess.run([sys.executable, name], cwd=folder, env=reported, capture_output=True, text=True, check=False, timeout=300)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.splitlines()
