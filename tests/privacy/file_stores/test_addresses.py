"""Which store has the file of an address. No address leads out of the prefix of its store."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from privacy.file_stores.addresses import Elsewhere, split_address
from privacy.file_stores.stored_file import StoredFile, locate

STORES = {
    "https://cdn.example/": "s3://public",
    "https://cdn.example/videos/": "s3://videos/all",
    "s3://calls/recordings/": "s3://calls/recordings",
    "uploads/": "/srv/uploads",
}


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("https://cdn.example/videos/a.mp4", ("s3://videos/all", "a.mp4")),
        ("https://cdn.example/videos/2027/a.mp4", ("s3://videos/all", "2027/a.mp4")),
        ("https://cdn.example/images/a.jpg", ("s3://public", "images/a.jpg")),
        ("HTTPS://CDN.Example/videos/A.mp4", ("s3://videos/all", "A.mp4")),
        ("https://cdn.example/videos/a.mp4?signature=x/../y#t=5", ("s3://videos/all", "a.mp4")),
        ("https://cdn.example/videos/a%20b%23.mp4", ("s3://videos/all", "a b#.mp4")),
        ("s3://calls/recordings/a%20b?.webm", ("s3://calls/recordings", "a%20b?.webm")),
        ("uploads/a.mp4", ("/srv/uploads", "a.mp4")),
    ],
)
def test_split_address(address: str, found: tuple[str, str]) -> None:
    assert split_address(address, STORES) == found


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a.mp4",
        "http://cdn.example/videos/a.mp4",
        "https://cdn.example",
        "https://cdn.example.evil/videos/a.mp4",
        "https://cdn.example:443/videos/a.mp4",
        "https://user@cdn.example/videos/a.mp4",
        "s3://calls/recordings-private/a.webm",
        "uploads-private/a.mp4",
    ],
)
def test_split_address__another_place(address: str) -> None:
    assert split_address(address, STORES) is Elsewhere.NO_STORE


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "..", "../a", "b/../../a", "b/./a", "b//a", "/a", "a/", "b/..", "..\\a", "b\\..\\a", "a\0", "a\nb"),
        *("%2e%2e/a", "%2E%2e/a", ".%2e/a", "b%2f..%2fa", "%252e%252e/a", "%25252e./a", "a%5c..%5cb", "a%00", "%2fa", "%c3%28", "?x", "#x"),
    ],
)
def test_split_address__unsafe(path: str) -> None:
    assert split_address(f"https://cdn.example/videos/{path}", STORES) is Elsewhere.UNSAFE


@pytest.mark.parametrize("path", ["%76ideos/a.mp4", "videos%2Fa.mp4", "videos%2fb/a.mp4"])
def test_split_address__of_another_prefix_in_disguise(path: str) -> None:
    """The shorter prefix has another file under this path."""
    assert split_address(f"https://cdn.example/{path}", STORES) is Elsewhere.UNSAFE


@given(st.text(alphabet="ab./\\%2eEfF5cC?#:@ \0", max_size=12))
def test_split_address__never_leaves_the_store(path: str) -> None:
    found = split_address(f"https://cdn.example/videos/{path}", {"https://cdn.example/videos/": "/srv/videos"})
    if not isinstance(found, Elsewhere):
        assert found[0] == "/srv/videos"
        assert not {"", ".", ".."}.intersection(found[1].split("/"))
        assert not {"\\", "\0"}.intersection(found[1])


def test_locate__without_stores(settings: Settings) -> None:
    settings.FILE_STORES = {}
    assert locate("https://cdn.example/videos/a.mp4") is Elsewhere.NO_STORE
    settings.FILE_STORES = {"https://cdn.example/": "/srv/videos"}
    found = locate("https://cdn.example/a.mp4")
    assert isinstance(found, StoredFile)
    assert (found.store.url, found.path) == ("/srv/videos", "a.mp4")
