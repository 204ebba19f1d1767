"""The network of a request. X-Forwarded-For counts only from a trusted proxy, and is read from the right."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import RequestFactory, override_settings
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.login.client import client_network


def network(peer: str, forwarded: str | None = None) -> str:
    headers: dict[str, Any] = {} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded}
    return client_network(RequestFactory().get("/", REMOTE_ADDR=peer, **headers))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.7", None, "192.0.2.7"),
        ("192.0.2.7", "203.0.113.5", "192.0.2.7"),  # not a proxy: the client forged the header
        ("10.0.0.1", "203.0.113.5", "203.0.113.5"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.5", "203.0.113.5"),  # the client forged the left entry
        ("10.0.0.1", "198.51.100.1, 203.0.113.5, 10.9.9.9", "203.0.113.5"),  # two proxies
        ("10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"),  # a client in an internal network
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "nonsense, 203.0.113.5", "203.0.113.5"),
        ("10.0.0.1", "203.0.113.5:4711", "203.0.113.5"),
        ("10.0.0.1", "[2001:db8:1:2:3:4:5:6]:443", "2001:db8:1:2::"),
        ("10.0.0.1", "2001:db8:1:2:ffff::9", "2001:db8:1:2::"),
        ("2001:db8:f::1", "203.0.113.5", "203.0.113.5"),
        ("::ffff:10.0.0.1", "::ffff:203.0.113.5", "203.0.113.5"),
        ("fe80::1%eth0", None, "fe80::"),
        ("", "203.0.113.5", "0.0.0.0"),
    ],
)
def test_client_network(settings: Settings, peer: str, forwarded: str | None, expected: str) -> None:
    settings.TRUSTED_PROXIES = ["10.0.0.0/8", "2001:db8:f::1"]
    assert network(peer, forwarded) == expected


def test_client_network__a_proxy_at_a_unix_socket(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = ["unix"]
    assert network("", "198.51.100.1, 203.0.113.5") == "203.0.113.5"
    assert network("192.0.2.7", "203.0.113.5") == "192.0.2.7"


@given(st.text(alphabet="0123456789abcdef.:,[]% x", max_size=60))
def test_client_network__ignores_the_header_left_of_the_proxys_entry(forwarded: str) -> None:
    """The entry that the trusted proxy appends decides, whatever the client sends."""
    with override_settings(TRUSTED_PROXIES=["10.0.0.0/8"]):
        assert network("10.0.0.1", f"{forwarded}, 203.0.113.5") == "203.0.113.5"
