"""What the officer must do for an approved request. FindMe does the rest by commands that already exist."""

from __future__ import annotations

from privacy.models import DataSubjectRequest
from privacy.models.request_choices import Kind, Processing

_OF_KINDS = {
    Kind.ACCESS: "Run manage.py export_user {user} --output FILE, add the information of article 15 (1), and send both to the data subject.",
    Kind.PORTABILITY: "Run manage.py export_user {user} --output FILE, and send the file to the data subject.",
    Kind.RECTIFICATION: "Correct the data of {user} in the admin.",
    Kind.ERASURE: (
        "Run manage.py privacy_request erase {request}, or leave it to manage.py process_requests. Delete the files of {user} that no store of"
        " FILE_STORES has."
    ),
    Kind.RESTRICTION: "Run manage.py erase_user {user} --soft: it hides {user} from searches and blocks the login. All data stays.",
}
_OF_PROCESSING = {
    Processing.EMBEDDING: (
        "Stop the program that writes the vector of {user}, and delete the row in profile_embeddings. The point in Qdrant is then deleted by"
        " itself. FindMe does not stop another program from writing the vector again."
    ),
    Processing.MATCHING: (
        "Remove the mark Active of {user} in the admin: no search shows {user} any more. The account is deactivated for everything else too."
    ),
    Processing.RECORDINGS: (
        "Stop the recording in the service that carries the calls of {user}, and have the files deleted. FindMe has only their addresses, and"
        " does not stop the recording."
    ),
    Processing.STATISTICS: "Leave {user} out of the statistics that other programs compute. FindMe computes none.",
    Processing.MARKETING: "Remove {user} from the lists of the program that sends advertisements. FindMe sends none.",
}


NO_USER = "The data subject is no user of FindMe: look for the data in other systems."


def officers_task(request: DataSubjectRequest) -> str:
    """Return the sentence that says what must be done before the request is answered."""
    if request.user_id is None:
        return NO_USER
    text = _OF_PROCESSING[Processing(request.processing)] if request.processing else _OF_KINDS[Kind(request.kind)]
    return text.format(user=request.user_id, request=request.pk)
