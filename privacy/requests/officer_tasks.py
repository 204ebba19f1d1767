"""What the officer must do for an approved request. FindMe does the rest by commands that already exist."""

from __future__ import annotations

from privacy.models import DataSubjectRequest
from privacy.models.request_choices import Kind, Processing
from privacy.requests.fulfilment import is_fulfilled

_EXPORT = "Run manage.py export_user {user} --output FILE and send the file to the data subject, or run it with --link --request {request} and send the link."
_FILES = "Delete the files of {user} that no store of FILE_STORES has."
_OF_KINDS = {
    Kind.ACCESS: f"{_EXPORT} It has the information of article 15 (1).",
    Kind.PORTABILITY: _EXPORT,
    Kind.RECTIFICATION: "Correct the data of {user} in the admin.",
    Kind.ERASURE: f"Run manage.py privacy_request erase {{request}}, or leave it to manage.py process_requests. {_FILES}",
    Kind.RESTRICTION: (
        "Run manage.py restrict_user {user}: no search and no match has {user} any more, and all data stays. Have the services that read PostgreSQL"
        " themselves leave {user} out too."
    ),
}
_OF_PROCESSING = {
    Processing.EMBEDDING: (
        "Run manage.py stop_matching {user} --delete-embedding, and stop the program that computes the vector of {user}. FindMe refuses a new one, but"
        " not if it is written with SQL."
    ),
    Processing.MATCHING: (
        "Run manage.py stop_matching {user}: no search and no match has {user} any more. The account works otherwise. Have the services that read"
        " PostgreSQL themselves leave {user} out too."
    ),
    Processing.RECORDINGS: (
        "Stop the recording in the service that carries the calls of {user}, and have the files deleted. FindMe has only their addresses, and"
        " does not stop the recording."
    ),
    Processing.STATISTICS: "Leave {user} out of the statistics that other programs compute. FindMe computes none.",
    Processing.MARKETING: "Remove {user} from the lists of the program that sends advertisements. FindMe sends none.",
}


NO_USER = "The data subject is no user of FindMe: look for the data in other systems."


def officers_task(request: DataSubjectRequest, *, in_list: bool = False) -> str:
    """Return the sentence that says what must be done before the request is answered.

    With ``in_list``, do not look at the erasure of a request, which needs queries of its own.
    """
    if request.user_id is None:
        return NO_USER
    if request.kind == Kind.ERASURE and not in_list and is_fulfilled(request):
        return _FILES.format(user=request.user_id)
    text = _OF_PROCESSING[Processing(request.processing)] if request.processing else _OF_KINDS[Kind(request.kind)]
    return text.format(user=request.user_id, request=request.pk)
