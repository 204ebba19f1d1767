"""Every error of the driver becomes one line: with fake servers, and with a real one."""

import errno
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from pytest_django import Settings
from qdrant_client import QdrantClient, models

from findme.core.errors import StoreUnavailable, StoreUnusable, UserFacingError
from tests.qdrant import QdrantServer, free_port, freeze, started_qdrant, thaw
from tests.support.memory import folder_in_memory
from tests.support.stores.http_proxy import DRIP_SECONDS, HttpProxy, confirmed
from tests.support.stubs import HTML, TLS_FOLDER, answering, answering_grpc, error, saying, silent
from vectorstore.consistency.checkpoint import CheckpointNotWritten
from vectorstore.qdrant.address import Address
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.embedded import Folder
from vectorstore.qdrant.errors import CollectionNotFound, RequestRejected, RequestTimeout, ServerError, translate_server_errors
from vectorstore.sync.leases import LeaseLost
from vectorstore.sync.settings import WrongSetting

KEY = "the-secret-key"


@pytest.fixture(autouse=True)
def plain_settings(settings: Settings) -> None:
    settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT, settings.QDRANT_TIMEOUT = "", 0, 1


def cannot_open() -> sqlite3.OperationalError:
    with pytest.raises(sqlite3.OperationalError) as raised:
        sqlite3.connect("/dev/null/none")
    return raised.value


def error_of(settings: Settings, url: str, ask: Callable[[QdrantClient], object] = lambda client: client.get_aliases()) -> UserFacingError:
    """Return the error of ``ask``. Assert that its message is one line without the key."""
    settings.QDRANT_URL = url
    with pytest.raises(UserFacingError) as raised, qdrant() as client:
        ask(client)
    assert "\n" not in str(raised.value)
    assert KEY not in str(raised.value)
    return raised.value


def test_errors__nothing_listens__names_the_url(settings: Settings) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    found = error_of(settings, url)
    assert type(found) is StoreUnavailable
    assert str(found) == f"Nothing answers at QDRANT_URL '{url}' ([Errno 111] Connection refused): start Qdrant, or correct QDRANT_URL."


def test_errors__unknown_host__is_named(settings: Settings) -> None:
    found = error_of(settings, "http://no-such-host.invalid:6333")
    assert type(found) is StoreUnavailable
    assert str(found) == (
        "QDRANT_URL 'http://no-such-host.invalid:6333' contains the unknown host 'no-such-host.invalid'. Correct QDRANT_URL, or the name resolution of this machine."
    )


def test_errors__url_without_a_scheme__is_named(settings: Settings) -> None:
    assert str(error_of(settings, "127.0.0.1:6333")).startswith("QDRANT_URL is '127.0.0.1:6333', without a scheme")


def test_errors__tls_to_a_plain_server__asks_for_http(settings: Settings) -> None:
    with answering(200, {}) as port:
        found = error_of(settings, f"https://127.0.0.1:{port}")
    assert type(found) is StoreUnusable
    assert str(found) == (
        f"The server at QDRANT_URL 'https://127.0.0.1:{port}' does not speak TLS: write http:// instead of https://, or give it a certificate."
    )


def test_errors__plain_http_to_a_tls_server__asks_for_https(settings: Settings) -> None:
    with answering(200, {}, tls=True) as port:
        found = error_of(settings, f"http://127.0.0.1:{port}")
    assert type(found) is StoreUnusable
    assert str(found) == f"The server at QDRANT_URL 'http://127.0.0.1:{port}' speaks TLS: write https:// instead of http://."


def test_errors__untrusted_certificate__names_ssl_cert_file(settings: Settings) -> None:
    with answering(200, {}, tls=True) as port:
        found = error_of(settings, f"https://127.0.0.1:{port}")
    assert type(found) is StoreUnusable
    assert str(found) == (
        f"The certificate at QDRANT_URL 'https://127.0.0.1:{port}' is not trusted (self-signed certificate):"
        " name its authority's file in SSL_CERT_FILE, or correct the host."
    )


def test_errors__trusted_certificate__is_accepted(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS_FOLDER / "cert.pem"))
    with answering(404, error("Not found: Collection `a` doesn't exist!"), tls=True) as port:
        found = error_of(settings, f"https://127.0.0.1:{port}")
    assert str(found) == "Qdrant has no collection 'a': make it with manage.py init_qdrant."


def test_errors__frozen_server__is_a_timeout(settings: Settings) -> None:
    with silent() as port:
        found = error_of(settings, f"http://127.0.0.1:{port}")
    assert type(found) is RequestTimeout
    assert str(found) == (
        f"Qdrant at 'http://127.0.0.1:{port}' did not answer within 1 s: check that it runs and can be reached, or increase QDRANT_TIMEOUT."
    )


def test_errors__answer_byte_by_byte__is_a_timeout(settings: Settings) -> None:
    """Each byte arrives before the timeout. A worker would hold its users longer than its lease."""
    proxy = HttpProxy("http://127.0.0.1:1")
    begun = time.monotonic()
    with proxy.following(lambda _request, _forward: replace(confirmed("a" * 1000), drips=True)):
        found = error_of(settings, proxy.url)
    proxy.stop()
    assert type(found) is RequestTimeout
    assert time.monotonic() - begun < 1000 * DRIP_SECONDS / 2  # long before the answer is complete


def test_errors__closed_connection__is_reported(settings: Settings) -> None:
    with saying(b"") as port:
        found = error_of(settings, f"http://127.0.0.1:{port}")
    assert type(found) is StoreUnavailable
    assert str(found).startswith(f"Qdrant at 'http://127.0.0.1:{port}' closed the connection (")


def test_errors__server_does_not_speak_http__is_reported(settings: Settings) -> None:
    with saying(b"220 mail.example.com ESMTP ready\r\n\r\n") as port:
        found = error_of(settings, f"http://127.0.0.1:{port}")
    assert str(found) == (
        f"The server at QDRANT_URL 'http://127.0.0.1:{port}' is not the REST API of Qdrant: correct the host, the port or the path."
    )


def test_errors__tls_handshake_fails__is_reported(settings: Settings) -> None:
    with saying(bytes([21, 3, 1, 0, 2, 2, 40])) as port:  # an alert: handshake failure
        found = error_of(settings, f"https://127.0.0.1:{port}")
    assert str(found).startswith(f"TLS with the server at QDRANT_URL 'https://127.0.0.1:{port}' failed (")
    assert str(found).endswith("): check its certificate and its settings.")


def test_errors__invalid_host_name__is_reported(settings: Settings) -> None:
    url = f"http://{'a' * 70}.example"
    assert str(error_of(settings, url)).startswith(f"The request to Qdrant at '{url}' failed (UnicodeError: ")


def test_errors__retry_after__is_overload(settings: Settings) -> None:
    with answering(429, error("Too many requests"), Retry_After="7") as port:
        assert str(error_of(settings, f"http://127.0.0.1:{port}")) == (
            f"Qdrant at 'http://127.0.0.1:{port}' is overloaded (Too many requests): wait, then run it again."
        )


@pytest.mark.parametrize(
    ("status", "body"), [(200, HTML), (404, HTML), (301, ""), (405, HTML), (200, {"hello": "I am another service"}), (200, "[1, 2]")]
)
def test_errors__server_is_not_qdrant__is_reported(settings: Settings, status: int, body: object) -> None:
    with answering(status, body, version=None) as port:
        found = error_of(settings, f"http://127.0.0.1:{port}")
    assert type(found) is StoreUnusable
    assert str(found) == (
        f"The server at QDRANT_URL 'http://127.0.0.1:{port}' is not the REST API of Qdrant: correct the host, the port or the path."
    )


def test_errors__proxy_answers_after_the_check__is_reported(settings: Settings) -> None:
    """The check of the version finds Qdrant, and the next request gets a page of HTML."""
    with answering(200, HTML) as port:
        assert "is not the REST API of Qdrant" in str(error_of(settings, f"http://127.0.0.1:{port}"))
    with answering(502, HTML) as port:
        assert str(error_of(settings, f"http://127.0.0.1:{port}")) == (
            f"Qdrant at 'http://127.0.0.1:{port}' answered 502 (a page of HTML): check its log, then run it again."
        )


CLIENTS = {"1.19.1": "1.18 to 1.20", "1.20.0": "1.19 to 1.21"}


@pytest.mark.parametrize(
    ("driver", "version"),
    [
        *(("1.19.1", version) for version in ("1.17.9", "1.21.0", "0.19.1", "2.19.0", "dev")),
        *(("1.20.0", version) for version in ("1.18.3", "1.22.0")),
    ],
)
def test_errors__unsupported_version__is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch, driver: str, version: str) -> None:
    monkeypatch.setattr("vectorstore.qdrant.server.importlib.metadata.version", {"qdrant-client": driver}.__getitem__)
    with answering(200, {}, version=version) as port:
        found = error_of(settings, f"http://127.0.0.1:{port}")
    assert isinstance(found, StoreUnavailable)
    assert str(found) == (
        f"Qdrant at 'http://127.0.0.1:{port}' is version '{version}': qdrant-client {driver} supports {CLIENTS[driver]}."
        " Run a server of one of these versions."
    )


@pytest.mark.parametrize(
    ("driver", "version"), [("1.19.1", "1.18.0"), ("1.19.1", "1.19.2-dev"), ("1.19.1", "1.20.7"), ("1.20.0", "1.21.0")]
)
def test_errors__supported_version__is_accepted(settings: Settings, monkeypatch: pytest.MonkeyPatch, driver: str, version: str) -> None:
    monkeypatch.setattr("vectorstore.qdrant.server.importlib.metadata.version", {"qdrant-client": driver}.__getitem__)
    with answering(200, {"result": {"aliases": []}, "status": "ok", "time": 0}, version=version) as port:
        settings.QDRANT_URL = f"http://127.0.0.1:{port}"
        with qdrant() as client:
            assert client.get_aliases().aliases == []


ANSWERS: list[tuple[int, Any, type[UserFacingError], str]] = [
    (401, "Invalid API key or JWT", StoreUnusable, "Qdrant at URL does not accept the key in QDRANT_API_KEY: set the key of the server."),
    (
        403,
        error("Forbidden: Global manage access is required"),
        StoreUnusable,
        "The key in QDRANT_API_KEY does not allow this at URL (Forbidden: Global manage access is required): set a key that allows writing.",
    ),
    (404, error("Not found: Collection `a` doesn't exist!"), CollectionNotFound, "Qdrant has no collection 'a': make it with manage.py init_qdrant."),
    (
        400,
        error("Wrong input: Vector dimension error: expected dim: 4, got 512"),
        RequestRejected,
        "Qdrant at URL rejected this: Wrong input: Vector dimension error: expected dim: 4, got 512. See manage.py init_qdrant --check.",
    ),
    (
        413,
        error("Payload reached size limit"),
        RequestRejected,
        "Qdrant at URL rejected this as too large: Payload reached size limit. Shorten the user's data, or set QDRANT_GRPC_PORT: gRPC accepts larger requests.",
    ),
    (429, error("Too many requests"), StoreUnavailable, "Qdrant at URL is overloaded (Too many requests): wait, then run it again."),
    (500, error("Service internal error: x"), ServerError, "Qdrant at URL answered 500 (Service internal error: x): check its log, then run it again."),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind", "line"), ANSWERS, ids=[str(answer[0]) for answer in ANSWERS])
def test_errors__each_answer_by_rest__has_its_type_and_message(
    settings: Settings, status: int, body: object, kind: type[UserFacingError], line: str
) -> None:
    settings.QDRANT_API_KEY = KEY
    with answering(status, body) as port:
        found = error_of(settings, f"http://127.0.0.1:{port}")
    assert type(found) is kind
    assert str(found) == line.replace("URL", f"'http://127.0.0.1:{port}'", 1)


CODES: list[tuple[Any, str, type[UserFacingError], str]] = [
    (grpc.StatusCode.UNAUTHENTICATED, "Invalid API key or JWT", *ANSWERS[0][2:]),
    (grpc.StatusCode.PERMISSION_DENIED, "Forbidden: Global manage access is required", *ANSWERS[1][2:]),
    (grpc.StatusCode.NOT_FOUND, "Not found: Collection `a` doesn't exist!", *ANSWERS[2][2:]),
    (grpc.StatusCode.INVALID_ARGUMENT, "Wrong input: Vector dimension error: expected dim: 4, got 512", *ANSWERS[3][2:]),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many requests", *ANSWERS[5][2:]),
    (
        grpc.StatusCode.INTERNAL,
        "Service internal error: x",
        ServerError,
        "Qdrant at URL answered INTERNAL (Service internal error: x): check its log, then run it again.",
    ),
    (
        grpc.StatusCode.FAILED_PRECONDITION,
        "the shard is being transferred",
        ServerError,
        "Qdrant at URL answered FAILED_PRECONDITION (the shard is being transferred): check its log, then run it again.",
    ),
    (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "too late",
        RequestTimeout,
        "Qdrant at URL did not answer within 1 s: check that it runs and can be reached, or increase QDRANT_TIMEOUT.",
    ),
]


@contextmanager
def by_grpc(port: int, timeout: int = 1, *, tls: bool = False) -> Iterator[QdrantClient]:
    """Open a client whose server is not checked, with translated errors."""
    address = Address(f"http{'s' if tls else ''}://127.0.0.1:1", KEY, port, timeout)
    client = QdrantClient(url=address.url, grpc_port=port, prefer_grpc=True, timeout=timeout, check_compatibility=False)
    try:
        with translate_server_errors(address):
            yield client
    finally:
        client.close()


@pytest.mark.parametrize(("code", "message", "kind", "line"), CODES, ids=[code[0].name for code in CODES])
def test_errors__each_answer_by_grpc__has_its_type_and_message(code: Any, message: str, kind: type[UserFacingError], line: str) -> None:
    with answering_grpc(code, message) as port, pytest.raises(UserFacingError) as raised, by_grpc(port) as client:
        client.get_aliases()
    assert type(raised.value) is kind
    assert str(raised.value) == line.replace("URL", "'http://127.0.0.1:1'", 1)


def test_errors__nothing_listens_by_grpc__names_the_port() -> None:
    port = free_port()
    with pytest.raises(StoreUnavailable) as raised, by_grpc(port) as client:
        client.get_aliases()
    assert str(raised.value).startswith(f"No gRPC at port {port} of '127.0.0.1' (")
    assert str(raised.value).endswith("): start Qdrant, or correct QDRANT_GRPC_PORT (0 means REST).")


def test_errors__frozen_server_by_grpc__is_a_timeout() -> None:
    with silent() as port, pytest.raises(StoreUnavailable) as raised, by_grpc(port) as client:
        client.get_aliases()
    assert "did not answer within 1 s" in str(raised.value)


def test_errors__tls_to_a_plain_server_by_grpc__is_reported() -> None:
    with answering_grpc(grpc.StatusCode.OK, "") as port, pytest.raises(StoreUnavailable) as raised, by_grpc(port, tls=True) as client:
        client.get_aliases()
    assert "does not speak TLS" in str(raised.value)


def test_errors__server_repeats_the_key__is_hidden(settings: Settings) -> None:
    settings.QDRANT_API_KEY = KEY
    with answering(500, error(f"what is {KEY}?")) as port:
        assert "(what is …?)" in str(error_of(settings, f"http://127.0.0.1:{port}"))


def test_errors__long_answer__is_shortened(settings: Settings) -> None:
    with answering(500, error("long\n" * 1000)) as port:
        assert len(str(error_of(settings, f"http://127.0.0.1:{port}"))) < 400


def test_errors__key_is_missing__names_the_setting(settings: Settings) -> None:
    with answering(401, "Must provide an API key or an Authorization bearer token") as port:
        assert (
            str(error_of(settings, f"http://127.0.0.1:{port}"))
            == f"Qdrant at 'http://127.0.0.1:{port}' requires an API key: set QDRANT_API_KEY."
        )


def test_errors__error_of_the_caller__is_not_translated() -> None:
    with pytest.raises(json.JSONDecodeError), by_grpc(1):
        json.loads("{")
    with pytest.raises(ZeroDivisionError), by_grpc(1):
        _ = 1 / 0


# --- A real server ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def qdrant_with_keys() -> Iterator[QdrantServer]:
    """Start a server with a key and with a read-only key."""
    with folder_in_memory() as folder, started_qdrant(folder, SERVICE__API_KEY=KEY, SERVICE__READ_ONLY_API_KEY="only-reading") as server:
        yield server


@pytest.mark.qdrant_server
@pytest.mark.parametrize("with_grpc", [False, True])
def test_errors__real_server_with_a_key__missing_and_wrong_key_are_named(
    qdrant_with_keys: QdrantServer, settings: Settings, with_grpc: bool
) -> None:
    url = qdrant_with_keys.url
    settings.QDRANT_GRPC_PORT = qdrant_with_keys.grpc_port if with_grpc else 0
    assert str(error_of(settings, url)) == f"Qdrant at '{url}' requires an API key: set QDRANT_API_KEY."
    settings.QDRANT_API_KEY = "a-wrong-key"
    assert str(error_of(settings, url)) == (f"Qdrant at '{url}' does not accept the key in QDRANT_API_KEY: set the key of the server.")


@pytest.mark.qdrant_server
@pytest.mark.parametrize("with_grpc", [False, True])
def test_errors__real_server_with_a_read_only_key__reads_and_refuses_writes(
    qdrant_with_keys: QdrantServer, settings: Settings, with_grpc: bool
) -> None:
    vectors = models.VectorParams(size=4, distance=models.Distance.COSINE)
    settings.QDRANT_URL, settings.QDRANT_API_KEY = qdrant_with_keys.url, KEY
    with qdrant() as client:
        client.delete_collection("a")
        client.create_collection("a", vectors_config=vectors)
    settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = "only-reading", qdrant_with_keys.grpc_port if with_grpc else 0
    with qdrant() as client:
        assert [collection.name for collection in client.get_collections().collections] == ["a"]
    points = [models.PointStruct(id=1, vector=[1.0, 2.0, 3.0, 4.0])]
    for write in (lambda client: client.create_collection("b", vectors_config=vectors), lambda client: client.upsert("a", points)):
        found = error_of(settings, qdrant_with_keys.url, write)
        assert isinstance(found, StoreUnavailable)
        assert str(found).startswith(f"The key in QDRANT_API_KEY does not allow this at '{qdrant_with_keys.url}' (Forbidden: ")


@pytest.mark.qdrant_server
def test_errors__real_server_with_tls__certificate_is_checked(
    memory_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"SERVICE__ENABLE_TLS": "true", "TLS__CERT": str(TLS_FOLDER / "cert.pem"), "TLS__KEY": str(TLS_FOLDER / "key.pem")}
    with started_qdrant(memory_path, **names) as server:
        assert "is not trusted (self-signed certificate)" in str(error_of(settings, server.url))
        plain = server.url.replace("https", "http")
        assert str(error_of(settings, plain)) == f"The server at QDRANT_URL '{plain}' speaks TLS: write https:// instead of http://."
        monkeypatch.setenv("SSL_CERT_FILE", str(TLS_FOLDER / "cert.pem"))
        settings.QDRANT_URL = server.url
        with qdrant() as client:
            assert client.get_collections().collections == []


@pytest.mark.qdrant_server
def test_errors__real_server__missing_collection_and_wrong_vector_are_named(server: QdrantServer, settings: Settings) -> None:
    name = settings.QDRANT_COLLECTION
    assert str(error_of(settings, server.url, lambda client: client.get_collection(name))) == (
        f"Qdrant has no collection {name!r}: make it with manage.py init_qdrant."
    )
    with qdrant() as client:
        client.create_collection(f"{name}_v1", vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
    point = models.PointStruct(id=1, vector=[1.0, 2.0, 3.0])
    found = error_of(settings, server.url, lambda client: client.upsert(f"{name}_v1", [point]))
    assert isinstance(found, RequestRejected)
    assert "Vector dimension error: expected dim: 4, got 3" in str(found)


@pytest.mark.qdrant_server
@pytest.mark.parametrize("with_grpc", [False, True])
def test_errors__real_server_is_frozen_and_resumes__client_works_again(memory_path: Path, settings: Settings, with_grpc: bool) -> None:
    settings.QDRANT_TIMEOUT = 2
    with started_qdrant(memory_path) as server:
        settings.QDRANT_GRPC_PORT, settings.QDRANT_URL = server.grpc_port if with_grpc else 0, server.url
        with qdrant() as client:
            client.create_collection("a", vectors_config={})
        freeze(server)
        assert "did not answer within 2 s" in str(error_of(settings, server.url))
        thaw(server)
        with qdrant() as client:
            assert [collection.name for collection in client.get_collections().collections] == ["a"]


@pytest.mark.qdrant_server
@pytest.mark.parametrize("with_grpc", [False, True])
def test_errors__real_server_is_restarted__is_checked_again(memory_path: Path, settings: Settings, with_grpc: bool) -> None:
    """The client that was open before checks the server again."""
    ports = {"SERVICE__HTTP_PORT": str(free_port()), "SERVICE__GRPC_PORT": str(free_port())}
    settings.QDRANT_URL = f"http://127.0.0.1:{ports['SERVICE__HTTP_PORT']}"
    settings.QDRANT_GRPC_PORT = int(ports["SERVICE__GRPC_PORT"]) if with_grpc else 0
    with started_qdrant(memory_path, **ports), qdrant() as client:
        client.create_collection("a", vectors_config={})
    assert isinstance(error_of(settings, settings.QDRANT_URL), StoreUnavailable)
    with answering(200, {}, version="1.2.3", port=int(ports["SERVICE__HTTP_PORT"])):
        assert "is version '1.2.3'" in str(error_of(settings, settings.QDRANT_URL))
    with started_qdrant(memory_path, **ports), qdrant() as client:
        assert [collection.name for collection in client.get_collections().collections] == ["a"]


def _kinds(base: type[UserFacingError]) -> set[type[UserFacingError]]:
    return {base, *(kind for sub in base.__subclasses__() for kind in _kinds(sub))}


def test_needs_operator__every_error_of_a_worker__is_classified() -> None:
    """Such an error ends ``sync_qdrant --once`` at once. A new type of error must be added to one of the two sets."""
    modules = ("vectorstore.", "findme.core.errors")
    retried = {kind.__name__ for kind in _kinds(UserFacingError) if kind.__module__.startswith(modules) and not kind.needs_operator}
    needs_operator = {kind.__name__ for kind in _kinds(UserFacingError) if kind.__module__.startswith(modules) and kind.needs_operator}
    assert retried == {kind.__name__ for kind in (StoreUnavailable, ServerError, RequestTimeout, CheckpointNotWritten, LeaseLost)}
    assert {
        "UserFacingError",
        "StoreUnusable",
        "CollectionNotFound",
        "RestoreDetected",
        "ForeignCollection",
        "RequestRejected",
        WrongSetting.__name__,
    } <= needs_operator


def test_needs_operator__unsupported_version__is_true(settings: Settings) -> None:
    with answering(200, {}, version="1.99.0") as port:
        assert type(error_of(settings, f"http://127.0.0.1:{port}")) is StoreUnusable


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), StoreUnusable),
        (PermissionError(errno.EACCES, "Permission denied"), StoreUnusable),
        (OSError(errno.ENOSPC, "No space left on device"), StoreUnavailable),
        (sqlite3.OperationalError("database is locked"), StoreUnavailable),
        (cannot_open(), StoreUnusable),
    ],
    ids=str,
)
def test_needs_operator__unusable_folder__depends_on_the_error(
    tmp_path: Path, raised: OSError | sqlite3.OperationalError, kind: type[UserFacingError]
) -> None:
    assert type(Folder(str(tmp_path))._unusable(raised)) is kind
