"""Refuse an adoption that would lose vectors which PostgreSQL does not have."""

from __future__ import annotations

from findme.core.errors import UserFacingError
from findme.core.plurals import counted, plural
from vectorstore.adoption.survey import Survey
from vectorstore.retention.unique_vectors import DiscardLimit


class VectorsNotStored(UserFacingError):
    """Vectors of the collection are not in PostgreSQL. ``survey`` has their counts and examples."""

    def __init__(self, message: str, survey: Survey) -> None:
        self.survey = survey
        super().__init__(message)


def require_stored(survey: Survey, limit: DiscardLimit, collection: str, what: str = "nothing was changed") -> None:
    """Raise VectorsNotStored unless PostgreSQL has every vector of a collection that is to be replaced.

    The ``limit`` covers vectors that no import can store, and those that differ from PostgreSQL's vector of the same user. It never covers a vector of
    a user who has none in PostgreSQL.
    """
    limit.counts[collection] = discardable(survey)
    if survey.unique_vectors or limit.total > limit.limit:
        raise VectorsNotStored(f"{describe(survey, collection)}: {what}. {next_step(survey, collection)}", survey)


def require_no_foreign_vectors(survey: Survey, limit: DiscardLimit, collection: str) -> None:
    """Raise VectorsNotStored if workers would overwrite vectors of another program in a collection that is adopted in place.

    The ``limit`` covers them together with the unique vectors, which the caller has checked.
    """
    total = limit.total + survey.different
    if survey.different and total > limit.limit:
        raise VectorsNotStored(
            f"{counted(survey.different, 'point')} without a version in {collection!r} {plural(survey.different, 'differs', 'differ')} from PostgreSQL's"
            f" vectors: nothing was changed. Run manage.py import_embeddings --from-collection {collection}, then rerun this"
            f" command, or add --discard-vectors {total}.",
            survey,
        )


def discardable(survey: Survey) -> int:
    """Return how many vectors ``--discard-vectors`` can cover."""
    return survey.different + survey.unusable


def describe(survey: Survey, collection: str) -> str:
    """Return how many vectors are at risk, and why, as the beginning of a sentence."""
    what_differs = "" if survey.unique_vectors else " from PostgreSQL's"
    parts = [
        f"{survey.unique_vectors:,} {plural(survey.unique_vectors, 'is', 'are')} missing in PostgreSQL" if survey.unique_vectors else "",
        f"{survey.different:,} {plural(survey.different, 'differs', 'differ')}{what_differs}" if survey.different else "",
        f"{survey.unusable:,} cannot be imported" if survey.unusable else "",
    ]
    *others, last = filter(None, parts)
    reasons = f"{', '.join(others)} and {last}" if others else last
    return f"Of {survey.points:,} vectors in {collection!r}, {reasons}"


def next_step(survey: Survey, collection: str) -> str:
    """Return what the operator types next.

    As long as an import helps for certain, ``--discard-vectors`` is not named: it would cover vectors that a service writes after the import.
    """
    discard = f"--discard-vectors {discardable(survey)}"
    if not survey.unique_vectors and not survey.different:
        return f"Rerun with {discard}."
    again = "rerun this command" if survey.unique_vectors else f"rerun, with {discard} for the rest"
    return f"Run manage.py import_embeddings --from-collection {collection}, then {again}."
