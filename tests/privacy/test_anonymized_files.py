"""An anonymization deletes the files that a store has, before their addresses go."""

from __future__ import annotations

from pathlib import Path

import pytest

from findme.core.errors import StoreUnavailable
from privacy.actions.anonymize import anonymize, preview_anonymization
from privacy.actions.erase_files import FilesRemain
from privacy.actions.followed import ErasureUnfinished
from privacy.actions.pending import process_pending
from privacy.declarations import Disposition
from privacy.file_stores.folder import Folder
from privacy.ledger.book import entries_of
from privacy.ledger.entry import Kind
from privacy.models import PendingAction
from tests.privacy.films import film_of
from tests.privacy.life import full_life
from tests.privacy.shelf import Shelf
from tests.support.sessions import another_connection
from videos.models import Video

pytestmark = pytest.mark.django_db(transaction=True)


def test_anonymize__files__go_before_their_addresses(shelf: Shelf, films: Path) -> None:
    person = full_life()
    film = film_of(person, films)
    counts = {effect.what: effect.count for effect in preview_anonymization(person.pk) if effect.disposition is Disposition.DELETED}
    assert counts["video files"]
    assert anonymize(person.pk).changed
    assert not film.exists()
    assert set(Video.objects.filter(user=person).values_list("storage_url", flat=True)) == {""}
    assert not PendingAction.objects.exists()


def test_anonymize__file_store_is_gone__changes_nothing(shelf: Shelf, films: Path) -> None:
    person = full_life()
    film_of(person, films)
    films.rename(films.with_name("unmounted"))
    with pytest.raises(StoreUnavailable, match="The file store"):
        anonymize(person.pk)
    assert entries_of(person.pk) == []
    assert "" not in set(Video.objects.filter(user=person).values_list("storage_url", flat=True))


def test_anonymize__file_is_not_deleted__stays_pending(shelf: Shelf, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    person = full_life()
    film = film_of(person, films)

    def refuse(*_: object) -> bool:
        raise StoreUnavailable("The disk is read-only.")

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "delete", refuse)
        with pytest.raises(FilesRemain, match=r"^The disk is read-only\. PostgreSQL is unchanged"):
            anonymize(person.pk)
    assert "" not in set(Video.objects.filter(user=person).values_list("storage_url", flat=True))
    assert [entry.kind for entry in entries_of(person.pk)] == [Kind.ANONYMIZE]
    assert process_pending().completed == 1
    assert not film.exists()
    assert set(Video.objects.filter(user=person).values_list("storage_url", flat=True)) == {""}


def test_anonymize__fails_after_its_files__continues(shelf: Shelf, films: Path) -> None:
    person = full_life()
    film = film_of(person, films)
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN; SELECT FROM users WHERE id = %s FOR UPDATE", [person.pk])
        with pytest.raises(ErasureUnfinished, match="so the action continues"):
            anonymize(person.pk)
        cursor.execute("ROLLBACK")
    assert not film.exists()
    assert process_pending().completed == 1
    assert set(Video.objects.filter(user=person).values_list("storage_url", flat=True)) == {""}
