"""Translation of the Qdrant driver's errors to one line with the address and the next step, never with the key."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager

import grpc
import httpx
from django.conf import settings
from pydantic import ValidationError
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from findme.core.errors import StoreUnavailable, StoreUnusable, UserFacingError
from vectorstore.qdrant.address import Address

MAX_LENGTH = 200
"""Characters of a server's error text that fit into a line."""


class CollectionNotFound(StoreUnusable):
    """Qdrant answers that it has no such collection."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Qdrant has no collection {name!r}: make it with manage.py init_qdrant.")


class ServerError(StoreUnavailable):
    """Qdrant answers with an internal error (5xx)."""


class RequestTimeout(StoreUnavailable):
    """Qdrant did not answer within QDRANT_TIMEOUT."""


class RestoreDetected(StoreUnusable):
    """A store was replaced by an older copy. Workers write nothing until ``verify_qdrant --repair`` has run."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what} Nothing is written until you run manage.py verify_qdrant --repair.")


class RequestRejected(UserFacingError):
    """Qdrant answers that the request itself is invalid, so a retry does not help."""


@contextmanager
def translate_server_errors(address: Address) -> Iterator[None]:
    """Translate every error of the driver to StoreUnavailable, CollectionNotFound or RequestRejected."""
    try:
        yield
    except (ResponseHandlingException, UnexpectedResponse, QdrantException, grpc.RpcError) as error:
        raise to_user_facing_error(error, address) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        if raised_by_driver(error):
            raise _not_qdrant(address) from error
        raise


def to_user_facing_error(error: Exception, address: Address) -> UserFacingError:
    """Return the one-line error for an error of the driver, by REST or by gRPC."""
    match error:
        case ResponseHandlingException():
            return _connection_failed(error.source, address)
        case UnexpectedResponse():
            return _error_for_status(error.status_code or 0, _message_in(error.content), address)
        case grpc.RpcError():
            return _grpc_failed(error, address)
    return _error_for_status(429, str(error), address)


def raised_by_driver(error: BaseException) -> bool:
    """Return whether qdrant-client raised ``error``, and not the code that calls it."""
    trace = error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__", "")).startswith("qdrant_client"):
            return True
        trace = trace.tb_next
    return False


def _connection_failed(source: Exception, address: Address) -> StoreUnavailable:
    reason = str(source)
    match source:
        case httpx.TimeoutException():
            return _request_timeout(address)
        case httpx.ConnectError() if "SSL" in reason or "TLS" in reason:
            return _tls_failed(reason, address)
        case httpx.ConnectError():
            return _not_reached(reason, address)
        case httpx.TransportError() if not address.tls and speaks_tls(address):
            return StoreUnusable(f"The server at {address.names.url} {address} speaks TLS: write https:// instead of http://.")
        case httpx.RemoteProtocolError() if "illegal" in reason:
            return _not_qdrant(address)
        case httpx.TransportError():
            return StoreUnavailable(
                f"Qdrant at {address} closed the connection ({_short(reason, address)}): check its log, then run it again."
            )
        case ValidationError():
            return _not_qdrant(address)
    return StoreUnavailable(
        f"The request to Qdrant at {address} failed ({_short(f'{type(source).__name__}: {reason}', address)}): check its log, then run it again."
    )


def _grpc_failed(error: grpc.RpcError, address: Address) -> UserFacingError:
    code, details = error.code(), error.details() or ""
    match code:
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return _request_timeout(address)
        case grpc.StatusCode.UNAVAILABLE if "handshake" in details.lower():
            return _tls_failed(details, address)
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.UNIMPLEMENTED:
            return _grpc_not_reached(details, address)
        case grpc.StatusCode.UNAUTHENTICATED:
            return _error_for_status(401, details, address)
        case grpc.StatusCode.PERMISSION_DENIED:
            return _error_for_status(403, details, address)
        case grpc.StatusCode.NOT_FOUND:
            return _error_for_status(404, details, address)
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.ALREADY_EXISTS:
            return _error_for_status(400, details, address)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return _error_for_status(429, details, address)
    return ServerError(f"Qdrant at {address} answered {code.name} ({_short(details, address)}): check its log, then run it again.")


def _error_for_status(status: int, message: str, address: Address) -> UserFacingError:
    match status:
        case 401 if not address.api_key:
            return StoreUnusable(f"Qdrant at {address} requires an API key: set {address.names.api_key}.")
        case 401:
            return StoreUnusable(f"Qdrant at {address} does not accept the key in {address.names.api_key}: set the key of the server.")
        case 403:
            return StoreUnusable(
                f"The key in {address.names.api_key} does not allow this at {address} ({_short(message, address)}): set a key that allows"
                f" {'reading' if address.read_only else 'writing'}."
            )
        case 404 if missing := re.search(r"Collection `(.*)` doesn't exist", message):
            return CollectionNotFound(missing[1])
        case 301 | 302 | 303 | 307 | 308 | 404 | 405:
            return _not_qdrant(address)
        case 413:
            return RequestRejected(
                f"Qdrant at {address} rejected this as too large: {_short(message, address)}. Shorten the user's data, or set {address.names.grpc_port}:"
                " gRPC accepts larger requests."
            )
        case 400 | 409 | 422:
            next_step = "" if address.read_only else " See manage.py init_qdrant --check."
            return RequestRejected(f"Qdrant at {address} rejected this: {_short(message, address)}.{next_step}")
        case 429:
            return StoreUnavailable(f"Qdrant at {address} is overloaded ({_short(message, address)}): wait, then run it again.")
    return ServerError(f"Qdrant at {address} answered {status} ({_short(message, address)}): check its log, then run it again.")


def _not_reached(reason: str, address: Address) -> StoreUnavailable:
    if re.search(r"name or service|no address|getaddrinfo|name resolution|nodename|Domain name", reason, re.IGNORECASE):
        return StoreUnavailable(
            f"{address.names.url} {address} contains the unknown host {address.host!r}. Correct {address.names.url}, or the name resolution of this machine."
        )
    return StoreUnavailable(
        f"Nothing answers at {address.names.url} {address} ({_short(reason, address)}): start Qdrant, or correct {address.names.url}."
    )


def _grpc_not_reached(reason: str, address: Address) -> StoreUnavailable:
    last = reason.rpartition("last error: ")[2]
    return StoreUnavailable(
        f"No gRPC at port {address.grpc_port} of {address.host!r} ({_short(last, address)}): start Qdrant, or correct {address.names.grpc_port} (0 means REST)."
    )


def _tls_failed(reason: str, address: Address) -> StoreUnavailable:
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        why = re.search(r"verify failed: ([^(:]*)|VERIFY_FAILED: ([^:]*)", reason)
        detail = next((group for group in why.groups() if group), reason).strip() if why else reason
        return StoreUnusable(
            f"The certificate at {address.names.url} {address} is not trusted ({_short(detail, address)}): name its authority's file in SSL_CERT_FILE"
            f"{' and GRPC_DEFAULT_SSL_ROOTS_FILE_PATH' if address.grpc_port else ''}, or correct the host."
        )
    if re.search("WRONG_VERSION_NUMBER|UNEXPECTED_EOF|RECORD_LAYER_FAILURE", reason):
        # A server that stops in the middle of a handshake looks the same as a server without TLS.
        kind = StoreUnavailable if "UNEXPECTED_EOF" in reason else StoreUnusable
        return kind(
            f"The server at {address.names.url} {address} does not speak TLS: write http:// instead of https://, or give it a certificate."
        )
    return StoreUnavailable(
        f"TLS with the server at {address.names.url} {address} failed ({_short(reason, address)}): check its certificate and its settings."
    )


def _request_timeout(address: Address) -> RequestTimeout:
    return RequestTimeout(
        f"Qdrant at {address} did not answer within {address.timeout} s: check that it runs and can be reached, or increase QDRANT_TIMEOUT."
    )


def _not_qdrant(address: Address) -> StoreUnusable:
    return StoreUnusable(
        f"The server at {address.names.url} {address} is not the REST API of Qdrant: correct the host, the port or the path."
    )


def speaks_tls(address: Address) -> bool:
    """Return whether a TLS handshake succeeds at the address, with any certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with closing(socket.create_connection((address.host, address.port), timeout=2)) as plain, context.wrap_socket(plain):
            return True
    except OSError:
        return False


def _message_in(content: bytes) -> str:
    """Return the server's error text. Qdrant answers in JSON, and in plain text if a key is wrong."""
    try:
        status = json.loads(content)["status"]
        return str(status["error"] if isinstance(status, dict) else status)
    except (ValueError, KeyError, TypeError):
        text = content.decode(errors="replace")
        return "a page of HTML" if text.lstrip().startswith("<") else text


def _short(text: str, address: Address) -> str:
    """Return the text on one line, truncated, and without the key in case a server repeats it."""
    for key in filter(None, (address.api_key, settings.QDRANT_API_KEY)):
        text = text.replace(key, "…")
    line = " ".join(text.split())
    return line if len(line) <= MAX_LENGTH else f"{line[: MAX_LENGTH - 1]}…"
