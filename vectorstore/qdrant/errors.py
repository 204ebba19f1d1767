"""What the Qdrant driver raises, told in one line: what is wrong, where, and the next step. Never the key."""

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

SHORT = 200
"""Characters of a server's own words that fit into a line."""


class CollectionNotFound(StoreUnusable):
    """Qdrant answers, and has no such collection."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Qdrant has no collection {name!r}: make it with manage.py init_qdrant.")


class ServerError(StoreUnavailable):
    """Qdrant answers that something in it went wrong (5xx)."""


class RequestTimeout(StoreUnavailable):
    """Nothing came within QDRANT_TIMEOUT."""


class RestoreDetected(StoreUnusable):
    """One of the stores is an older copy of itself: nothing is written until ``verify_qdrant --repair`` has been run."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what} Nothing is written until this has been run: manage.py verify_qdrant --repair.")


class RequestRejected(UserFacingError):
    """Qdrant answers that the request itself is wrong: asking again does not help."""


@contextmanager
def translate_server_errors(address: Address) -> Iterator[None]:
    """Turn every error of the driver into StoreUnavailable, CollectionNotFound or RequestRejected."""
    try:
        yield
    except (ResponseHandlingException, UnexpectedResponse, QdrantException, grpc.RpcError) as error:
        raise to_user_facing_error(error, address) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        if raised_by_driver(error):
            raise _not_a_qdrant(address) from error
        raise


def to_user_facing_error(error: Exception, address: Address) -> UserFacingError:
    """The line for an error of the driver, by REST or by gRPC."""
    match error:
        case ResponseHandlingException():
            return _connection_failed(error.source, address)
        case UnexpectedResponse():
            return _answered(error.status_code or 0, _words_of(error.content), address)
        case grpc.RpcError():
            return _grpc_failed(error, address)
    return _answered(429, str(error), address)


def raised_by_driver(error: BaseException) -> bool:
    """Whether ERROR comes out of qdrant-client, and not out of the code that calls it."""
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
            return StoreUnusable(f"The server at QDRANT_URL {address} speaks TLS: write https:// instead of http://.")
        case httpx.RemoteProtocolError() if "illegal" in reason:
            return _not_a_qdrant(address)
        case httpx.TransportError():
            return StoreUnavailable(f"Qdrant at {address} broke off the connection ({_short(reason)}): look at its log, and run it again.")
        case ValidationError():
            return _not_a_qdrant(address)
    return StoreUnavailable(
        f"Qdrant at {address} could not be asked ({_short(f'{type(source).__name__}: {reason}')}): look at its log, and run it again."
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
            return _answered(401, details, address)
        case grpc.StatusCode.PERMISSION_DENIED:
            return _answered(403, details, address)
        case grpc.StatusCode.NOT_FOUND:
            return _answered(404, details, address)
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.ALREADY_EXISTS:
            return _answered(400, details, address)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return _answered(429, details, address)
    return ServerError(f"Qdrant at {address} answered {code.name} ({_short(details)}): look at its log, and run it again.")


def _answered(status: int, words: str, address: Address) -> UserFacingError:
    match status:
        case 401 if not address.api_key:
            return StoreUnusable(f"Qdrant at {address} asks for a key: set QDRANT_API_KEY.")
        case 401:
            return StoreUnusable(f"Qdrant at {address} does not accept the key in QDRANT_API_KEY: set the one that the server was given.")
        case 403:
            return StoreUnusable(f"The key in QDRANT_API_KEY does not allow this at {address} ({_short(words)}): set one that may write.")
        case 404 if missing := re.search(r"Collection `(.*)` doesn't exist", words):
            return CollectionNotFound(missing[1])
        case 301 | 302 | 303 | 307 | 308 | 404 | 405:
            return _not_a_qdrant(address)
        case 413:
            return RequestRejected(
                f"Qdrant at {address} refused this as too large: {_short(words)}. Shorten what the person's data hold, or set QDRANT_GRPC_PORT,"
                " which takes more."
            )
        case 400 | 409 | 422:
            return RequestRejected(f"Qdrant at {address} refused this: {_short(words)}. See manage.py init_qdrant --check.")
        case 429:
            return StoreUnavailable(f"Qdrant at {address} has too much to do ({_short(words)}): wait, and run it again.")
    return ServerError(f"Qdrant at {address} answered {status} ({_short(words)}): look at its log, and run it again.")


def _not_reached(reason: str, address: Address) -> StoreUnavailable:
    if re.search(r"name or service|no address|getaddrinfo|name resolution|nodename|Domain name", reason, re.IGNORECASE):
        return StoreUnavailable(
            f"QDRANT_URL {address} names a host that is not known here: {address.host!r}. Correct it, or the name service."
        )
    return StoreUnavailable(f"Nothing answers at QDRANT_URL {address} ({_short(reason)}): start Qdrant, or correct QDRANT_URL.")


def _grpc_not_reached(reason: str, address: Address) -> StoreUnavailable:
    last = reason.rpartition("last error: ")[2]
    return StoreUnavailable(
        f"No gRPC at port {address.grpc_port} of {address.host!r} ({_short(last)}): start Qdrant, or correct QDRANT_GRPC_PORT (0 means REST)."
    )


def _tls_failed(reason: str, address: Address) -> StoreUnavailable:
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        why = re.search(r"verify failed: ([^(:]*)|VERIFY_FAILED: ([^:]*)", reason)
        words = next((group for group in why.groups() if group), reason).strip() if why else reason
        return StoreUnusable(
            f"The certificate at QDRANT_URL {address} is not trusted ({_short(words)}): name its authority's file in SSL_CERT_FILE"
            f"{' and GRPC_DEFAULT_SSL_ROOTS_FILE_PATH' if address.grpc_port else ''}, or correct the host."
        )
    if re.search("WRONG_VERSION_NUMBER|UNEXPECTED_EOF|RECORD_LAYER_FAILURE", reason):
        # A server that stops in the middle of a handshake looks the same as one that speaks no TLS.
        kind = StoreUnavailable if "UNEXPECTED_EOF" in reason else StoreUnusable
        return kind(f"The server at QDRANT_URL {address} does not speak TLS: write http:// instead of https://, or give it a certificate.")
    return StoreUnavailable(f"No TLS with the server at QDRANT_URL {address} ({_short(reason)}): see its certificate and its settings.")


def _request_timeout(address: Address) -> RequestTimeout:
    return RequestTimeout(
        f"Qdrant at {address} did not answer within {address.timeout} s: see whether it runs and can be reached, or raise QDRANT_TIMEOUT."
    )


def _not_a_qdrant(address: Address) -> StoreUnusable:
    return StoreUnusable(
        f"What answers at QDRANT_URL {address} is not the REST interface of a Qdrant: correct the host, the port or the path."
    )


def speaks_tls(address: Address) -> bool:
    """Whether a TLS handshake succeeds there, whatever the certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with closing(socket.create_connection((address.host, address.port), timeout=2)) as plain, context.wrap_socket(plain):
            return True
    except OSError:
        return False


def _words_of(content: bytes) -> str:
    """The server's own words: Qdrant answers in JSON, or for a key in plain text."""
    try:
        status = json.loads(content)["status"]
        return str(status["error"] if isinstance(status, dict) else status)
    except (ValueError, KeyError, TypeError):
        text = content.decode(errors="replace")
        return "a page of HTML" if text.lstrip().startswith("<") else text


def _short(words: str) -> str:
    """WORDS on one line, cut, and without the key should a server repeat it."""
    if settings.QDRANT_API_KEY:
        words = words.replace(settings.QDRANT_API_KEY, "…")
    line = " ".join(words.split())
    return line if len(line) <= SHORT else f"{line[: SHORT - 1]}…"
