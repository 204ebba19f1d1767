"""Personal data of matches: table ``matches``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.db.models import Q

from matching.models import Match, MatchQuerySet
from privacy.declarations import Category, Disposition, Export, Link, PersonalData, TableDeclaration
from privacy.json_schemas import Schema, array_of, row_of
from privacy.models.holds import Section, held_rows
from privacy.purposes import MATCHING
from privacy.registry import Effect, PersonalDataOwner, Protection, columns_of, registry
from privacy.retention_rules import RowRule, of_restricted_users


class Matches(PersonalDataOwner):
    """Owns the matches. Of each user, a match holds the id and the answer. The answer of the other user is not exported."""

    section = "matches"
    retention_rules = (
        RowRule(
            name="matches",
            what="matches without a call",
            since="their creation",
            category=Category.MATCHES,
            expired=lambda before: Match.objects.filter(created_at__lt=before, calls__isnull=True).exclude(
                held_rows(Section.MATCHES, ("user", "matched_user")) | of_restricted_users("user", "matched_user")
            ),
        ),
    )
    tables = {
        "matching.Match": TableDeclaration(
            links=(Link("user"), Link("matched_user")),
            data=(
                PersonalData(
                    fields=(
                        *("id", "user", "matched_user", "week_number", "year", "status", "match_score"),
                        *("expires_at", "created_at", "updated_at", "deleted_at"),
                    ),
                    category=Category.MATCHES,
                    purpose=MATCHING,
                    recipients=("the other user of the match",),
                    anonymize=Disposition.KEPT,
                ),
                PersonalData(
                    fields=("user_action", "matched_user_action"),
                    category=Category.MATCHES,
                    purpose=MATCHING,
                    export=Export.OWN_PART,
                    reason="the answer of the other user is theirs (GDPR, article 15 (4))",
                    anonymize=Disposition.KEPT,
                ),
            ),
        )
    }

    protection = {
        "matching.Match": Protection(
            users=("user", "matched_user"),
            protected={"created_at": "<"},
            kept=frozenset(
                {
                    *("id", "week_number", "year", "status", "match_score", "user_action", "matched_user_action", "expires_at"),
                    *("updated_at", "deleted_at"),
                }
            ),
        )
    }

    def export(self, user_id: UUID) -> Iterator[dict[str, Any]]:
        """Yield every column except the other user's answer (GDPR, article 15, paragraph 4)."""
        for match in _matches(user_id).order_by("year", "week_number", "pk").values(*columns_of(Match)).iterator():
            del match["matched_user_action" if match["user_id"] == user_id else "user_action"]
            yield match

    def export_schema(self) -> Schema:
        return array_of(row_of(self.tables, "matching.Match"))

    def anonymize(self, user_id: UUID) -> None:
        """Change nothing: the row also belongs to the other user, and holds only the id of the anonymized user."""

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        return [Effect("matches", _matches(user_id).count(), Disposition.KEPT)]

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return [Effect("matches", _matches(user_id).count(), Disposition.DELETED)]


def _matches(user_id: UUID) -> MatchQuerySet:
    return Match.objects.filter(Q(user_id=user_id) | Q(matched_user_id=user_id))


registry.register(Matches())
