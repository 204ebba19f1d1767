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
from findme.demo.guard import refuse_foreign_data
from findme.demo.presenter import Presenter
from findme.demo.traces import traces_of
from privacy.actions.undo_erasure import undo_erasures
from vectorstore.models import ProfileEmbedding
from vectorstore.qdrant.connection import collection_name, is_embedded
from vectorstore.search.criteria import Near, SearchQuery
from vectorstore.search.engine import Hit, search

BERLIN = "52.52,13.405,30"
AS_TYPED = ("--user", JANE, "--near", BERLIN, "--limit", "5")


def run_demo(presenter: Presenter, exports: Path) -> None:
    """Everything once; EXPORTS is the folder for the zip. Raises UserFacingError, and before anything is touched if there is a user who
    is not of the demo, or EXPORTS cannot be used; for a folder that cannot be made, OSError."""
    refuse_foreign_data(demo_user_ids())
    zipped = _export_path(exports)
    _look(presenter)
    _set_up(presenter)
    _load(presenter)
    best = _search(presenter)
    _export(presenter, zipped)
    _anonymize(presenter, best)
    _log_in(presenter)


def _export_path(exports: Path) -> Path:
    """The folder is made here, so that nothing else is done where it cannot be."""
    exports.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(exports, os.W_OK | os.X_OK):
        raise UserFacingError(f"The folder {str(exports)!r} is not yours to write in: name another one with --exports.")
    path = exports / "john.zip"
    require_writable(path, force=True)
    return path


def _look(presenter: Presenter) -> None:
    where = "the folder QDRANT_PATH" if is_embedded() else "the server at QDRANT_URL"
    presenter.step("A look first", "The demo changes users' data, so it continues only where its own users are the only ones.")
    presenter.line(f"The database {connection.settings_dict['NAME']!r} has no other users.")
    presenter.line(f"The collection {collection_name()!r} in {where} has no other users.")


def _set_up(presenter: Presenter) -> None:
    presenter.step("The tables", "PostgreSQL is the truth. The tables of the guide, with every rule in the database itself.")
    presenter.command("migrate")
    presenter.step(
        "The collection", "Qdrant is a projection of PostgreSQL. The command says what it changes; a second time there is nothing to do."
    )
    presenter.command("init_qdrant")


def _load(presenter: Presenter) -> None:
    presenter.step(
        "People", "John and Jane of the guide and two hundred others, with videos, six weeks of matches, and calls. None of them exists."
    )
    undo_erasures(demo_user_ids())  # those of earlier demos
    try:
        presenter.command("loaddata", "demo")
    except IntegrityError as error:
        raise UserFacingError(
            f"Something that was added to the demo's data stands in the way of loading them again: {without_detail(error)}"
        ) from error
    presenter.step(
        "Their embeddings",
        "512 numbers for each, into PostgreSQL, and from there into Qdrant. A bad row would be reported, and would not stop the good ones.",
    )
    presenter.command("upsert_embeddings", _shown(EMBEDDINGS), "--model", "demo")
    presenter.step(
        "In step",
        "Whatever else has changed meanwhile, by plain SQL or while Qdrant was unavailable: one command makes Qdrant say what PostgreSQL says.",
    )
    presenter.command("sync_qdrant", "--once")


def _search(presenter: Presenter) -> Hit:
    """The best hit."""
    presenter.step(
        "A search",
        "Who within 30 km of the middle of Berlin is like Jane? Qdrant finds the nearest, and PostgreSQL has the last word on each.",
    )
    presenter.command("search_profiles", *AS_TYPED)
    presenter.words("The command prints no names. These users are the demo's own, so here are their names:")
    hits = _like_jane()
    if not hits:
        raise UserFacingError(
            "The search found no user: the demo's own users are missing. Run manage.py sync_qdrant --once, then the demo again."
        )
    presenter.table(("Name", "Age", "Score", "Likes", "Says"), _introduced(hits))
    return hits[0]


def _like_jane() -> list[Hit]:
    jane = User.objects.with_email(JANE).get()
    return search(SearchQuery(user_id=jane.pk, near=Near.parse(BERLIN), limit=5))


def _introduced(hits: Sequence[Hit]) -> list[tuple[str, int, str, str, str]]:
    found = ProfileEmbedding.objects.select_related("user").in_bulk([hit.user_id for hit in hits])
    them = ((hit, found[hit.user_id]) for hit in hits)
    return [(it.user.full_name, hit.age, f"{hit.score:.2f}", ", ".join(it.interests), it.user.bio or "") for hit, it in them]


def _export(presenter: Presenter, path: Path) -> None:
    presenter.step(
        "An export",
        "John asks what is held about him (GDPR, article 15): all of it, in one zip. Of the people he met there is an id, and no more.",
    )
    presenter.command("export_user", JOHN, "--output", _shown(path), "--force")
    with zipfile.ZipFile(path) as archive:
        presenter.table(("In the zip", "Bytes"), [(entry.filename, f"{entry.file_size:,}") for entry in archive.infolist()])
        profile = json.loads(archive.read("profile.json"))
    excerpt = {column: profile[column] for column in ("email", "full_name", "date_of_birth", "bio")}
    presenter.line(f"From profile.json: {json.dumps(excerpt, ensure_ascii=False)}")


def _anonymize(presenter: Presenter, best: Hit) -> None:
    person = User.objects.get(pk=best.user_id)
    email, name = person.email, person.full_name
    presenter.step(
        "Forgotten",
        f"{name}, whom the search found first, wants to be forgotten. The change is committed when the point is seen to be gone; where that cannot be, nothing changes.",
    )
    presenter.command("anonymize_user", email, "--no-input")
    person.refresh_from_db()
    presenter.line(f"The row now: {person.email}, {person.full_name!r}, bio {person.bio!r}, deleted {person.deleted_at:%Y-%m-%d %H:%M}.")
    traces = traces_of(email)
    if traces.found:
        raise UserFacingError(f"The address {email!r} still stands in {', '.join(traces.found)}: that must not be.")
    presenter.line(f"{email} stands in none of the {traces.searched} tables any more. The same search again:")
    presenter.command("search_profiles", *AS_TYPED)
    if any(hit.user_id == best.user_id for hit in _like_jane()):
        raise UserFacingError(f"The search still finds {str(best.user_id)!r}: that must not be.")
    presenter.line(f"{name} is not among them. The next demo brings its people back.")


def _log_in(presenter: Presenter) -> None:
    login = renew_login()
    presenter.step(
        "The admin", "All of this with a mouse: lists, filters, and the same privacy actions, each with a page that says what will happen."
    )
    presenter.line("Start it:  make serve")
    presenter.line("Open:      http://127.0.0.1:8000/admin/  (make serve names another port if this one is taken)")
    presenter.line(f"Log in:    {login.email}")
    presenter.line(f"Password:  {login.password}  (new with every demo, and not shown again)")
    presenter.step("What next", "The README says how to go on with your own servers, and docs/ explains every part.")
    presenter.line("make demo   tells this again, whenever you like")
    presenter.line("make test   shows that all of it is so")
    presenter.line("make stop   ends the embedded PostgreSQL, if that is the one you use")


def _shown(path: Path) -> str:
    """As a person would type it: from here if it is below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else os.fspath(path)


@dataclass(frozen=True, slots=True)
class Login:
    email: str
    password: str = field(repr=False)


def renew_login() -> Login:
    """Make the demo's superuser, or put it right again, with a new random password; who was logged in with the old one no longer is."""
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
