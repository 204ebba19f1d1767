"""The collection to import: what is refused before anything is read, and other servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import models

from findme.core.errors import UserFacingError
from tests.factories import UserFactory
from tests.qdrant import QdrantServer, started_qdrant
from tests.support.memory import folder_in_memory
from tests.support.stubs import answering
from tests.vectorstore.ingest.from_qdrant.guide_points import COSINE, create, guide, import_all, point
from tests.vectorstore.ingest.from_qdrant.reading_proxy import reading_proxy
from vectorstore.ingest.from_qdrant.run import import_embeddings
from vectorstore.ingest.from_qdrant.source import address_from, checked_source
from vectorstore.models import VectorImport
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.key_file import read_key

pytestmark = pytest.mark.django_db

SPARSE = {"words": models.SparseVectorParams()}
MULTI = models.VectorParams(
    size=512, distance=models.Distance.COSINE, multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
)
SMALL = models.VectorParams(size=3, distance=models.Distance.COSINE)


def refusal(name: str = "", vector: str | None = None) -> str:
    with pytest.raises(UserFacingError) as raised:
        checked_source(address_from(None, None, None), name or guide(), vector)
    assert len(str(raised.value).split()) <= 30
    return str(raised.value).replace(guide(), "guide")


@pytest.mark.parametrize(
    ("options", "vector", "expected"),
    [
        ({"vectors_config": COSINE}, "face", "'guide' has no vector 'face': nothing was done. Omit --vector."),
        (
            {"vectors_config": {"face": COSINE, "small": SMALL}},
            None,
            "'guide' has no vector without a name: nothing was done. Choose one with --vector: 'face'.",
        ),
        (
            {"vectors_config": {"face": COSINE, "small": SMALL}},
            "small",
            "The vector 'small' of 'guide' has 3 numbers, and FindMe stores 512: nothing was done. Choose one with --vector: 'face'.",
        ),
        (
            {"vectors_config": SMALL},
            None,
            "The vector of 'guide' has 3 numbers, and FindMe stores 512: nothing was done. Its dense vectors: one without a name (3).",
        ),
        (
            {"vectors_config": {"many": MULTI}},
            "many",
            "The vector 'many' of 'guide' is a multivector, and FindMe stores one vector per user: nothing was done. Its dense vectors: none.",
        ),
        (
            {"vectors_config": {"face": COSINE}, "sparse_vectors_config": SPARSE},
            "words",
            "The vector 'words' of 'guide' is sparse, and FindMe stores dense ones: nothing was done. Choose one with --vector: 'face'.",
        ),
        (
            {"vectors_config": {}, "sparse_vectors_config": SPARSE},
            None,
            "'guide' has no vector without a name: nothing was done. Its dense vectors: none.",
        ),
    ],
)
def test_source__vector_that_cannot_be_stored__is_refused(store: str, options: dict[str, Any], vector: str | None, expected: str) -> None:
    create(**options)
    assert refusal(vector=vector) == expected
    assert not VectorImport.objects.exists()


def test_source__no_collection__names_the_others(embedded_qdrant: Path) -> None:
    assert refusal() == "The embedded vector store has no collection 'guide': nothing was done. It has none."
    for number in range(12):
        create(name=f"c{number:02}")
    assert refusal("c") == (
        "The embedded vector store has no collection 'c': nothing was done. It has c00, c01, c02, c03, c04, c05, c06, c07, c08, c09 and 2 more."
    )
    assert refusal("a/b") == (
        "'a/b' cannot be part of a URL: nothing was done. Give the collection an alias of at most 200 letters, digits, '_', '-' and '.'."
    )


def test_address__options_without_url__are_refused(embedded_qdrant: Path, tmp_path: Path) -> None:
    for options in ((tmp_path / "key", None), (None, 6334)):
        with pytest.raises(UserFacingError, match=r"^--from-api-key-file and --from-grpc-port need --from-url\."):
            address_from(None, *options)


@pytest.mark.parametrize(
    ("url", "port", "expected"),
    [
        (
            "qdrant:6333",
            None,
            "--from-url is 'qdrant:6333', without a scheme: write 'http://qdrant:6333', or https:// where the server speaks TLS.",
        ),
        ("http://key@qdrant", None, "--from-url contains a user name or a password: remove it, and put the key into --from-api-key-file."),
        ("http://qdrant", 70000, "--from-grpc-port is 70000: set a port up to 65535, or 0 for REST."),
        (
            "http://127.0.0.1:1",
            None,
            "Nothing answers at --from-url 'http://127.0.0.1:1' ([Errno 111] Connection refused): start Qdrant, or correct --from-url.",
        ),
    ],
)
def test_address__wrong_value__names_the_option(embedded_qdrant: Path, url: str, port: int | None, expected: str) -> None:
    with pytest.raises(UserFacingError) as raised:
        checked_source(address_from(url, None, port), "guide", None)
    assert str(raised.value) == expected


def test_source__old_server__is_refused(embedded_qdrant: Path) -> None:
    with answering(200, {}, version="1.9.2") as port, pytest.raises(UserFacingError) as raised:
        checked_source(address_from(f"http://127.0.0.1:{port}", None, None), "guide", None)
    assert str(raised.value).startswith(f"Qdrant at 'http://127.0.0.1:{port}' is version '1.9.2': qdrant-client ")


def test_source__wrong_key__is_refused_without_the_key(embedded_qdrant: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret-0123456789\n")
    key.chmod(0o600)
    with answering(401, "Must provide an API key or an Authorization bearer token: secret-0123456789", version=None) as port:
        with pytest.raises(UserFacingError) as raised:
            checked_source(address_from(f"http://127.0.0.1:{port}", key, None), "guide", None)
        assert str(raised.value) == (
            f"Qdrant at 'http://127.0.0.1:{port}' does not accept the key in --from-api-key-file: set the key of the server."
        )
        with pytest.raises(UserFacingError, match="requires an API key: set --from-api-key-file"):
            checked_source(address_from(f"http://127.0.0.1:{port}", None, None), "guide", None)


@pytest.mark.parametrize("content", [b"key", b"key\n", b"key\r\n"])
def test_key__one_line__is_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    assert read_key(path) == "key"
    link = tmp_path / "link"
    link.symlink_to(path)
    assert read_key(link) == "key"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_key__file_that_others_can_read__is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    path.write_text("secret-0123456789")
    path.chmod(mode)
    with pytest.raises(UserFacingError) as raised:
        read_key(path)
    assert str(raised.value) == f"{str(path)!r} can be read by other accounts (mode {mode:04o}): nothing was read. Change its mode to 0600."


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines", b"a space", b"\xff\xfe", b"x" * 5000])
def test_key__file_without_a_key__is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UserFacingError, match="does not hold one line with an API key"):
        read_key(path)


def test_key__no_file__is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserFacingError, match=r"cannot be read: No such file or directory\. Name the file with the API key\.$"):
        read_key(tmp_path / "missing")
    with pytest.raises(UserFacingError, match=r"cannot be read: Is a directory"):
        read_key(tmp_path)


@pytest.fixture
def other_server() -> Iterator[QdrantServer]:
    """A server with an API key."""
    with folder_in_memory() as folder, started_qdrant(folder, SERVICE__API_KEY="secret-0123456789") as server:
        yield server


@pytest.mark.no_cover
@pytest.mark.long
@pytest.mark.at_length
@pytest.mark.qdrant_server
def test_import__other_server_with_a_key__only_reads(
    other_server: QdrantServer, embedded_qdrant: Path, settings: Any, tmp_path: Path
) -> None:
    """By REST through a proxy that refuses all requests that could write, and by gRPC. The settings name the embedded store."""
    key = tmp_path / "key"
    key.write_text(other_server.api_key)
    key.chmod(0o600)
    users = UserFactory.create_batch(3)
    settings.QDRANT_URL, settings.QDRANT_API_KEY = other_server.url, other_server.api_key
    create(name="profile_embeddings_guide", points=[point(user, seed) for seed, user in enumerate(users)])
    settings.QDRANT_URL = settings.QDRANT_API_KEY = ""
    with reading_proxy(other_server.url) as (url, refused):
        imported = import_embeddings(checked_source(address_from(url, key, None), "profile_embeddings_guide", None))
        assert (imported.imported, refused) == (3, [])
    by_grpc = address_from(other_server.url, key, other_server.grpc_port)
    imported = import_embeddings(checked_source(by_grpc, "profile_embeddings_guide", None))
    assert (imported.unchanged, imported.conflicts) == (3, 0)
    with pytest.raises(UserFacingError, match=r"--from-grpc-port 1 is not|No gRPC at port 1 of"):
        checked_source(address_from(other_server.url, key, 1), "profile_embeddings_guide", None)


@pytest.mark.no_cover
@pytest.mark.long
@pytest.mark.at_length
@pytest.mark.qdrant_server
def test_source__empty_server_by_grpc__creates_nothing(other_server: QdrantServer, tmp_path: Path, embedded_qdrant: Path) -> None:
    """The check that REST and gRPC are one server creates a collection elsewhere."""
    key = tmp_path / "key"
    key.write_text(other_server.api_key)
    key.chmod(0o600)
    with reading_proxy(other_server.url) as (url, refused):
        with pytest.raises(UserFacingError, match=r"has no collection 'guide': nothing was done\. It has none\."):
            checked_source(address_from(url, key, other_server.grpc_port), "guide", None)
        assert refused == []


@pytest.mark.qdrant_server
def test_import__server_of_the_settings__only_reads(qdrant_server: QdrantServer, settings: Any) -> None:
    users = UserFactory.create_batch(3)
    create(point(user, seed) for seed, user in enumerate(users))
    with reading_proxy(qdrant_server.url) as (url, refused):
        settings.QDRANT_URL = url
        assert import_all().imported == 3
        assert refused == []
    settings.QDRANT_URL = qdrant_server.url
    with qdrant() as client:
        assert client.count(guide()).count == 3
