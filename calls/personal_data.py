"""Personal data of calls: table ``video_calls``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import CharField, Q, QuerySet, Value
from django.db.models.functions import Cast, Concat

from calls.models import VideoCall, VideoCallQuerySet
from privacy.declarations import Category, Disposition, Export, Link, PersonalData, TableDeclaration
from privacy.file_stores.addresses import Elsewhere
from privacy.file_stores.effects import file_effects
from privacy.file_stores.stored_file import locate
from privacy.json_schemas import Schema, array_of, row_of
from privacy.models.holds import Section, held_rows
from privacy.purposes import CALLS
from privacy.registry import Effect, PersonalDataOwner, Protection, columns_of, registry
from privacy.retention_rules import RowRule, of_restricted_users
from privacy.shared_data import without_person

RECORDINGS = "call recordings"
FILES_AT_ONCE = 100
"""Calls whose recordings are deleted in one transaction. A deletion in S3 takes several requests, and the rows are locked meanwhile."""


class Calls(PersonalDataOwner):
    """Owns the calls. A recording shows both users, and the video service logs them under the session id."""

    section = "calls"
    retention_rules = (
        RowRule(
            name="calls",
            what="calls",
            since="their creation",
            category=Category.CALLS,
            revision=2,
            expired=lambda before: _calls_before(before),
            prepare=lambda calls: _delete_recordings(calls),
            batch_size=FILES_AT_ONCE,
            turn=2,
        ),
        RowRule(
            name="call_recordings",
            what="addresses of recordings and metadata of calls",
            since="the call",
            category=Category.MEDIA,
            disposition=Disposition.CLEARED,
            revision=2,
            expired=lambda before: _calls_before(before).exclude(recording_url=None, metadata={}),
            prepare=lambda calls: _delete_recordings(calls),
            batch_size=FILES_AT_ONCE,
            change=lambda calls: calls.update(recording_url=None, metadata={}),
        ),
    )
    erasure_steps = {RECORDINGS: "files"}
    tables = {
        "calls.VideoCall": TableDeclaration(
            links=(Link("caller"), Link("callee")),
            data=(
                PersonalData(
                    fields=("session_id", "metadata"),
                    category=Category.CALLS,
                    purpose=CALLS,
                    recipients=("the operator of the video service",),
                    anonymize=Disposition.CLEARED,
                ),
                PersonalData(
                    fields=("recording_url",),
                    category=Category.MEDIA,
                    purpose=CALLS,
                    recipients=("the operator of the file storage",),
                    export=Export.NEVER,
                    reason="a recording shows both users (GDPR, article 15 (4)), and has_recording says whether there is one",
                    anonymize=Disposition.CLEARED,
                    files="recordings of calls",
                ),
                PersonalData(
                    fields=(
                        *("id", "match", "caller", "callee", "started_at", "ended_at", "duration", "status"),
                        *("quality_rating", "created_at"),
                    ),
                    category=Category.CALLS,
                    purpose=CALLS,
                    recipients=("the other user of the call",),
                    anonymize=Disposition.KEPT,
                ),
            ),
        )
    }

    protection = {
        "calls.VideoCall": Protection(
            users=("caller", "callee"),
            protected={"session_id": "=deleted_{id}", "recording_url": "", "metadata": ""},
            kept=frozenset({"id", "match", "started_at", "ended_at", "duration", "status", "quality_rating", "created_at"}),
        )
    }

    def export(self, user_id: UUID) -> Iterator[dict[str, Any]]:
        """Yield every column except the address of a recording, which shows both users. Texts that name the other user are left out."""
        sides = ("caller", "callee")
        person = [f"{side}__{name}" for side in sides for name in ("email", "full_name")]
        columns = columns_of(VideoCall, without=frozenset({"recording_url"}))
        calls = _calls(user_id).order_by("created_at", "pk").values(*columns, "recording_url", *person)
        for call in calls.iterator():
            other = "callee" if call["caller_id"] == user_id else "caller"
            named = (call[f"{other}_id"], call[f"{other}__email"], call[f"{other}__full_name"])
            row = {name: call[name] for name in columns}
            if named[0] != user_id:
                row |= {name: without_person(row[name], *named) for name in ("session_id", "metadata") if row[name]}
            yield {**row, "has_recording": bool(call["recording_url"])}

    def export_schema(self) -> Schema:
        return array_of(row_of(self.tables, "calls.VideoCall", has_recording={"type": "boolean"}))

    def anonymize(self, user_id: UUID) -> None:
        """Clear the session, the recording and the metadata. Statistics keep times, status and rating.

        A recording cannot be split, so the other user loses it too. ``session_id`` is unique and NOT NULL: it gets the form that the guide
        gives the e-mail address of an anonymized user.
        """
        _calls(user_id).exclude(held_rows(Section.CALLS, ("caller", "callee"))).update(
            session_id=Concat(Value("deleted_"), Cast("pk", CharField())),
            recording_url=None,
            metadata={},
        )

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        cleared = Effect("calls (session, recording, metadata)", _calls(user_id).count(), Disposition.CLEARED)
        return [cleared, *file_effects(RECORDINGS, self.files(user_id))]

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return [Effect("calls", _calls(user_id).count(), Disposition.DELETED), *file_effects(RECORDINGS, self.files(user_id))]


def _calls_before(before: datetime) -> VideoCallQuerySet:
    """Return the old calls that neither a hold nor a restriction keeps."""
    kept = held_rows(Section.CALLS, ("caller", "callee")) | of_restricted_users("caller", "callee")
    return VideoCall.objects.filter(created_at__lt=before).exclude(kept)


def _delete_recordings(calls: QuerySet[VideoCall]) -> None:
    """Delete the recordings that a store of ``FILE_STORES`` has: without their addresses nothing would lead to them. Raise StoreUnavailable."""
    for address in calls.exclude(recording_url=None).values_list("recording_url", flat=True):
        file = locate(address or "")
        if not isinstance(file, Elsewhere):
            file.delete()


def _calls(user_id: UUID) -> VideoCallQuerySet:
    return VideoCall.objects.filter(Q(caller_id=user_id) | Q(callee_id=user_id))


registry.register(Calls())
