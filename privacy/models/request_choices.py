"""Values of the columns of a request. They are closed lists, so that no personal data is written to them."""

from __future__ import annotations

from django.db.models import TextChoices


class Kind(TextChoices):
    """The right that the data subject uses."""

    ACCESS = "access", "Access (article 15)"
    RECTIFICATION = "rectification", "Rectification (article 16)"
    ERASURE = "erasure", "Erasure (article 17)"
    RESTRICTION = "restriction", "Restriction (article 18)"
    PORTABILITY = "portability", "Portability (article 20)"
    OBJECTION = "objection", "Objection (article 21)"
    CONSENT_WITHDRAWAL = "consent_withdrawal", "Withdrawal of consent (article 7 (3))"


class State(TextChoices):
    RECEIVED = "received", "Received"
    IDENTITY_ASKED = "identity_asked", "Waits for proof of identity"
    IDENTIFIED = "identified", "Identity confirmed"
    APPROVED = "approved", "Approved"
    ANSWERED = "answered", "Answered"
    REFUSED = "refused", "Refused"
    WITHDRAWN = "withdrawn", "Withdrawn"


class Method(TextChoices):
    """How the identity was confirmed. There is no method with a copy of an identity document (EDPB guidelines 01/2022, section 3.3)."""

    LOGIN = "login", "The request was made while logged in"
    EMAIL_CODE = "email_code", "Code sent to the account's e-mail address"
    LETTER_CODE = "letter_code", "Code sent by letter to a known address"
    CALL_BACK = "call_back", "Call to a known number"
    ELECTRONIC_ID = "electronic_id", "Electronic identification"
    IN_PERSON = "in_person", "In person, without a copy of the document"


class Processing(TextChoices):
    """The processing that an objection or a withdrawal of consent is about."""

    EMBEDDING = "embedding", "The vector of face and voice"
    MATCHING = "matching", "Searches and matches"
    RECORDINGS = "recordings", "Recordings of calls"
    STATISTICS = "statistics", "Statistics"
    MARKETING = "marketing", "Direct marketing"


class ExtensionReason(TextChoices):
    """The two reasons of article 12 (3)."""

    COMPLEXITY = "complexity", "Complexity of the request"
    NUMBER = "number", "Number of requests"


class WithdrawalReason(TextChoices):
    BY_PERSON = "by_person", "The data subject withdrew the request"
    DUPLICATE = "duplicate", "The same request is recorded twice"
    MISTAKE = "mistake", "Recorded by mistake"


class NotInformedReason(TextChoices):
    """Why a recipient was not informed. Article 19 has the first two."""

    IMPOSSIBLE = "impossible", "Impossible"
    DISPROPORTIONATE = "disproportionate", "Disproportionate effort"
    NOT_DISCLOSED = "not_disclosed", "The data was not disclosed to this recipient"


class Ground(TextChoices):
    """Ground of a refusal, by its article."""

    NOT_IDENTIFIED = "12_2", "12 (2): the data subject cannot be identified"
    UNFOUNDED = "12_5_unfounded", "12 (5) (b): manifestly unfounded"
    EXCESSIVE = "12_5_excessive", "12 (5) (b): excessive"
    RESTRICTED_BY_LAW = "23", "23: restricted by law"
    NO_CONSENT = "7_3", "7 (3): the processing is not based on consent"
    OTHERS_RIGHTS = "15_4", "15 (4): rights of others"
    DATA_ACCURATE = "16", "16: the data is accurate and complete"
    NO_GROUND_FOR_ERASURE = "17_1", "17 (1): none of the grounds applies"
    FREE_EXPRESSION = "17_3_a", "17 (3) (a): freedom of expression and information"
    LEGAL_OBLIGATION = "17_3_b", "17 (3) (b): legal obligation or public task"
    PUBLIC_HEALTH = "17_3_c", "17 (3) (c): public health"
    ARCHIVING = "17_3_d", "17 (3) (d): archiving, research or statistics"
    LEGAL_CLAIMS = "17_3_e", "17 (3) (e): legal claims"
    NO_GROUND_FOR_RESTRICTION = "18_1", "18 (1): none of the grounds applies"
    NOT_PORTABLE = "20_1", "20 (1): not provided by the data subject, or not based on consent or contract"
    PUBLIC_TASK = "20_3", "20 (3): public task"
    PORTABILITY_OTHERS_RIGHTS = "20_4", "20 (4): rights of others"
    COMPELLING_GROUNDS = "21_1", "21 (1): compelling legitimate grounds or legal claims, or another legal basis"
    PUBLIC_INTEREST = "21_6", "21 (6): task in the public interest"


WITHOUT_IDENTITY = frozenset({Ground.NOT_IDENTIFIED, Ground.UNFOUNDED, Ground.EXCESSIVE})
"""Grounds that say nothing about the data, so they do not need a confirmed identity."""

_OF_ARTICLES_15_TO_22 = (Ground.NOT_IDENTIFIED, Ground.UNFOUNDED, Ground.EXCESSIVE, Ground.RESTRICTED_BY_LAW)

GROUNDS: dict[Kind, tuple[Ground, ...]] = {
    Kind.ACCESS: (*_OF_ARTICLES_15_TO_22, Ground.OTHERS_RIGHTS),
    Kind.RECTIFICATION: (*_OF_ARTICLES_15_TO_22, Ground.DATA_ACCURATE),
    Kind.ERASURE: (
        *_OF_ARTICLES_15_TO_22,
        Ground.NO_GROUND_FOR_ERASURE,
        Ground.FREE_EXPRESSION,
        Ground.LEGAL_OBLIGATION,
        Ground.PUBLIC_HEALTH,
        Ground.ARCHIVING,
        Ground.LEGAL_CLAIMS,
    ),
    Kind.RESTRICTION: (*_OF_ARTICLES_15_TO_22, Ground.NO_GROUND_FOR_RESTRICTION),
    Kind.PORTABILITY: (*_OF_ARTICLES_15_TO_22, Ground.NOT_PORTABLE, Ground.PUBLIC_TASK, Ground.PORTABILITY_OTHERS_RIGHTS),
    Kind.OBJECTION: (*_OF_ARTICLES_15_TO_22, Ground.COMPELLING_GROUNDS, Ground.PUBLIC_INTEREST),
    Kind.CONSENT_WITHDRAWAL: (Ground.NOT_IDENTIFIED, Ground.NO_CONSENT),
}
"""Grounds that a request of each kind can be refused on. Article 12 (5) does not cover article 7 (3)."""

ABSOLUTE = frozenset({Ground.COMPELLING_GROUNDS, Ground.PUBLIC_INTEREST})
"""Grounds that cannot be held against an objection to direct marketing (article 21 (3))."""

SWITCHED = frozenset({Processing.EMBEDDING, Processing.MATCHING})
"""The processings that FindMe itself stops for one user."""

STOPPING = (Kind.OBJECTION, Kind.CONSENT_WITHDRAWAL)
"""Kinds that end a processing."""
WITH_RECIPIENTS = (Kind.RECTIFICATION, Kind.ERASURE, Kind.RESTRICTION)
"""Kinds after which the recipients of the data must be informed (article 19)."""
CLOSED = (State.ANSWERED, State.REFUSED, State.WITHDRAWN)
"""States that never change."""
