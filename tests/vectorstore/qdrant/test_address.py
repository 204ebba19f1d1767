import pytest
from pytest_django import Settings

from findme.core.errors import StoreUnavailable
from vectorstore.qdrant.address import server_address, timeout_seconds


@pytest.fixture(autouse=True)
def plain_settings(settings: Settings) -> None:
    settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT, settings.QDRANT_TIMEOUT = "", 0, 10.0


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("http://qdrant:6333", "qdrant", 6333, False),
        ("http://qdrant", "qdrant", 6333, False),
        ("https://qdrant.example.com", "qdrant.example.com", 6333, True),
        ("https://qdrant.example.com:443/", "qdrant.example.com", 443, True),
        ("http://127.0.0.1:1234/behind/a/proxy", "127.0.0.1", 1234, False),
        ("http://[::1]:6333", "::1", 6333, False),
    ],
)
def test_server_address__url__gives_host_port_and_tls(settings: Settings, url: str, host: str, port: int, tls: bool) -> None:
    settings.QDRANT_URL = url
    address = server_address()
    assert (address.host, address.port, address.tls, str(address)) == (host, port, tls, repr(url))


@pytest.mark.parametrize(
    ("url", "line"),
    [
        (
            "qdrant:6333",
            "QDRANT_URL is 'qdrant:6333', without a scheme: write 'http://qdrant:6333', or https:// where the server speaks TLS.",
        ),
        ("localhost", "QDRANT_URL is 'localhost', without a scheme: write 'http://localhost', or https:// where the server speaks TLS."),
        ("ftp://qdrant", "QDRANT_URL is 'ftp://qdrant': write http://HOST:PORT or https://HOST:PORT."),
        ("http://", "QDRANT_URL is 'http://': write http://HOST:PORT or https://HOST:PORT."),
        ("http://qdrant:port", "QDRANT_URL is 'http://qdrant:port': write http://HOST:PORT or https://HOST:PORT."),
        ("http://qdrant:0", "QDRANT_URL is 'http://qdrant:0': write http://HOST:PORT or https://HOST:PORT."),
        ("http://qdrant:99999", "QDRANT_URL is 'http://qdrant:99999': write http://HOST:PORT or https://HOST:PORT."),
        ("http://[::1", "QDRANT_URL is 'http://[::1': write http://HOST:PORT or https://HOST:PORT."),
        ("http://qdr ant", "QDRANT_URL is 'http://qdr ant': write http://HOST:PORT or https://HOST:PORT."),
        ("http://qdrant?a=b", "QDRANT_URL is 'http://qdrant?a=b': write http://HOST:PORT or https://HOST:PORT."),
        (
            "https://anna:secret@qdrant",
            "QDRANT_URL contains a user name or a password: remove it, and put the key into QDRANT_API_KEY.",
        ),
        ("anna:secret@qdrant", "QDRANT_URL contains a user name or a password: remove it, and put the key into QDRANT_API_KEY."),
    ],
)
def test_server_address__invalid_url__is_refused(settings: Settings, url: str, line: str) -> None:
    settings.QDRANT_URL = url
    with pytest.raises(StoreUnavailable) as refused:
        server_address()
    assert str(refused.value) == line


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_server_address__key_not_valid_in_a_header__is_refused(settings: Settings, key: str) -> None:
    settings.QDRANT_URL, settings.QDRANT_API_KEY = "http://qdrant", key
    with pytest.raises(StoreUnavailable) as refused:
        server_address()
    assert str(refused.value) == "QDRANT_API_KEY contains a space, a line break or a character beyond ASCII: remove it."


def test_server_address__repr__has_no_key(settings: Settings) -> None:
    settings.QDRANT_URL, settings.QDRANT_API_KEY = "http://qdrant", "a-key.of_visible=ASCII"
    assert server_address().api_key == "a-key.of_visible=ASCII"
    assert "a-key" not in repr(server_address()) + str(server_address())


@pytest.mark.parametrize("port", [-1, 65536])
def test_server_address__invalid_port__is_refused(settings: Settings, port: int) -> None:
    settings.QDRANT_URL, settings.QDRANT_GRPC_PORT = "http://qdrant", port
    with pytest.raises(StoreUnavailable) as refused:
        server_address()
    assert str(refused.value) == f"QDRANT_GRPC_PORT is {port}: set a port up to 65535, or 0 for REST."


def test_server_address__timeout__is_rounded_up_to_whole_seconds(settings: Settings) -> None:
    settings.QDRANT_URL, settings.QDRANT_TIMEOUT = "http://qdrant", 0.2
    assert server_address().timeout == 1
    assert timeout_seconds() == 0.2


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 86_401])
def test_timeout_seconds__invalid_number__is_refused(settings: Settings, seconds: float) -> None:
    settings.QDRANT_TIMEOUT = seconds
    with pytest.raises(StoreUnavailable) as refused:
        timeout_seconds()
    assert str(refused.value) == f"QDRANT_TIMEOUT is {seconds}: set a number of seconds above 0 and at most 86400 (one day)."
