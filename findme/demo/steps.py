"""The steps of the demo."""

from __future__ import annotations

import json
import os
import secrets
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from django.contrib.auth.hashers import make_password
from django.db import IntegrityError, connection

from accounts.models import User
from findme.core.errors import UserFacingError, without_detail
from findme.core.files import require_writable
from findme.demo.dataset import ADMIN_EMAIL, ADMIN_ID, EMBEDDINGS, JANE, JOHN, demo_user_ids
from findme.demo.guard import require_only_demo_data
from findme.demo.presenter import Presenter
from findme.demo.traces import find_traces
from privacy.actions.undo_erasure import undo_erasures
from vectorstore.models import ProfileEmbedding
from vectorstore.qdrant.connection import collection_name, is_embedded
from vectorstore.search.criteria import Near, SearchQuery
from vectorstore.search.engine import Hit, search

BERLIN = "52.52,13.405,30"
SEARCH_OPTIONS = ("--user", JANE, "--near", BERLIN, "--limit", "5")


def run_demo(presenter: Presenter, exports: Path) -> None:
    """Run every step once; ``exports`` is the folder for the zip.

    Raises UserFacingError. Changes nothing if there is a user who is not a demo user, or if ``exports`` cannot be used. Raises OSError if the
    folder cannot be created.
    """
    require_only_demo_data(demo_user_ids())
    zipped = _export_path(exports)
    _show_checks(presenter)
    _set_up(presenter)
    _load(presenter)
    best = _search(presenter)
    _export(presenter, zipped)
    _anonymize(presenter, best)
    _log_in(presenter)


def _export_path(exports: Path) -> Path:
    """Create the folder and return the path of the zip. It runs first, so a wrong folder stops the demo before any change."""
    exports.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(exports, os.W_OK | os.X_OK):
        raise UserFacingError(f"You may not write in the folder {str(exports)!r}. Name another one with --exports.")
    path = exports / "john.zip"
    require_writable(path, force=True)
    return path


def _show_checks(presenter: Presenter) -> None:
    where = "the folder QDRANT_PATH" if is_embedded() else "the server at QDRANT_URL"
    presenter.step("Safety check", "The demo changes users' data, so it runs only where there are no users but its own.")
    presenter.line(f"The database {connection.settings_dict['NAME']!r} has no other users.")
    presenter.line(f"The collection {collection_name()!r} in {where} has no other users.")


def _set_up(presenter: Presenter) -> None:
    presenter.step(
        "Tables", "PostgreSQL is the source of truth. It has the tables of the guide, and the database itself enforces every rule."
    )
    presenter.command("migrate")
    presenter.step(
        "Collection", "Qdrant is a projection of PostgreSQL. The command reports each change; a second run has nothing to change."
    )
    presenter.command("init_qdrant")


def _load(presenter: Presenter) -> None:
    presenter.step(
        "Users", "John and Jane of the guide and two hundred others, with videos, six weeks of matches, and calls. None of them exists."
    )
    undo_erasures(demo_user_ids())  # by earlier demos
    try:
        presenter.command("loaddata", "demo")
    except IntegrityError as error:
        raise UserFacingError(
            f"A row that was added to the demo data prevents loading it again: {without_detail(error)}. Delete that row, then run the demo again."
        ) from error
    presenter.step(
        "Embeddings",
        "512 numbers for each user, written to PostgreSQL and from there to Qdrant. A bad row is reported and does not stop the good ones.",
    )
    presenter.command("upsert_embeddings", _display_path(EMBEDDINGS), "--model", "demo")
    presenter.step(
        "Sync",
        "Other changes, by plain SQL or while Qdrant was unavailable, wait in a queue. One command writes them to Qdrant.",
    )
    presenter.command("sync_qdrant", "--once")


def _search(presenter: Presenter) -> Hit:
    """Show a search and return its best hit."""
    presenter.step(
        "Search",
        "Which users within 30 km of the middle of Berlin are like Jane? Qdrant finds the nearest users, and PostgreSQL checks each of them.",
    )
    presenter.command("search_profiles", *SEARCH_OPTIONS)
    presenter.paragraph("The command prints no names. These are demo users, so the demo shows their names:")
    hits = _search_like_jane()
    if not hits:
        raise UserFacingError(
            "The search found no user: the demo users are missing in Qdrant. Run manage.py sync_qdrant --once, then the demo again."
        )
    presenter.table(("Name", "Age", "Score", "Interests", "Bio"), _profile_rows(hits))
    return hits[0]


def _search_like_jane() -> list[Hit]:
    jane = User.objects.with_email(JANE).get()
    return search(SearchQuery(user_id=jane.pk, near=Near.parse(BERLIN), limit=5))


def _profile_rows(hits: Sequence[Hit]) -> list[tuple[str, int, str, str, str]]:
    found = ProfileEmbedding.objects.select_related("user").in_bulk([hit.user_id for hit in hits])
    profiles = ((hit, found[hit.user_id]) for hit in hits)
    return [(it.user.full_name, hit.age, f"{hit.score:.2f}", ", ".join(it.interests), it.user.bio or "") for hit, it in profiles]


def _export(presenter: Presenter, path: Path) -> None:
    presenter.step(
        "Export",
        "John requests the data stored about him (GDPR, article 15): one zip has all of it. Of other users it has only the ids.",
    )
    presenter.command("export_user", JOHN, "--output", _display_path(path), "--force")
    with zipfile.ZipFile(path) as archive:
        presenter.table(("In the zip", "Bytes"), [(entry.filename, f"{entry.file_size:,}") for entry in archive.infolist()])
        profile = json.loads(archive.read("profile.json"))
    excerpt = {column: profile[column] for column in ("email", "full_name", "date_of_birth", "bio")}
    presenter.line(f"From profile.json: {json.dumps(excerpt, ensure_ascii=False)}")


def _anonymize(presenter: Presenter, best: Hit) -> None:
    user = User.objects.get(pk=best.user_id)
    email, name = user.email, user.full_name
    presenter.step(
        "Anonymization",
        f"{name}, the best match, asks to be forgotten. The change is committed only after the point is deleted; if that fails, nothing changes.",
    )
    presenter.command("anonymize_user", email, "--no-input")
    user.refresh_from_db()
    presenter.line(f"The row now: {user.email}, {user.full_name!r}, bio {user.bio!r}, deleted {user.deleted_at:%Y-%m-%d %H:%M}.")
    traces = find_traces(email)
    if traces.found:
        raise UserFacingError(f"The address {email!r} is still in {', '.join(traces.found)}. This is a defect: please report it.")
    presenter.line(f"None of the {traces.searched} tables contains {email} any more. The same search again:")
    presenter.command("search_profiles", *SEARCH_OPTIONS)
    if any(hit.user_id == best.user_id for hit in _search_like_jane()):
        raise UserFacingError(f"The search still finds {str(best.user_id)!r}. This is a defect: please report it.")
    presenter.line(f"{name} is not among them. The next demo restores its users.")


def _log_in(presenter: Presenter) -> None:
    login = renew_login()
    presenter.step(
        "Admin", "The same in the browser: lists, filters, and the privacy actions, each with a page that shows what will happen."
    )
    presenter.line("Start it:  make serve")
    presenter.line("Open:      http://127.0.0.1:8000/admin/  (make serve names another port if this one is taken)")
    presenter.line(f"Log in:    {login.email}")
    presenter.line(f"Password:  {login.password}  (new with every demo, and not shown again)")
    presenter.step("Next steps", "The README explains how to continue with your own servers, and docs/ explains every part.")
    presenter.line("make demo   runs this demo again")
    presenter.line("make test   runs the tests")
    presenter.line("make stop   stops the embedded PostgreSQL, if you use it")


def _display_path(path: Path) -> str:
    """Return the path as an operator types it: relative if it is below the working folder."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else os.fspath(path)


@dataclass(frozen=True, slots=True)
class Login:
    email: str
    password: str = field(repr=False)


def renew_login() -> Login:
    """Create or reset the demo's superuser, with a new random password. This ends sessions of the old password."""
    password = secrets.token_urlsafe(12)
    User.objects.update_or_create(
        pk=ADMIN_ID,
        defaults={
            "email": ADMIN_EMAIL,
            "password": make_password(password),
            "full_name": "Admin of the demo",
            "date_of_birth": date(1990, 1, 1),
            "gender": User.Gender.OTHER,
            "bio": None,
            "video": None,
            "verified": False,
            "active": True,
            "deleted_at": None,
            "is_staff": True,
            "is_superuser": True,
        },
    )
    return Login(ADMIN_EMAIL, password)
