"""The limit on hashing applies to every password of a web process, and never to a command."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from io import StringIO
from typing import Any
from urllib.parse import urlencode

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.contrib.auth import authenticate
from django.contrib.auth.hashers import Argon2PasswordHasher, check_password, make_password
from django.core.management import call_command
from django.test import AsyncClient, Client
from django.urls import reverse
from pytest_django import Settings

import findme.settings
from accounts.login import hash_limit
from accounts.login.hash_limit import HASH_LIMIT, LoginBusy
from accounts.login.hashing import hashing_turn
from accounts.models import User
from tests.factories import PASSWORD, UserFactory
from tests.support.staff import signed_in, superuser
from tests.support.threads import held_in_thread
from tests.support.web import Web, serving

NEW = "another-one-5"
MEGABYTES_OF_A_HASH = 100


class FullArgon2(Argon2PasswordHasher):
    memory_cost = Argon2PasswordHasher.memory_cost


@pytest.fixture(autouse=True)
def argon2(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the hasher of production with little memory."""
    settings.PASSWORD_HASHERS = findme.settings.PASSWORD_HASHERS
    monkeypatch.setattr(Argon2PasswordHasher, "memory_cost", 64)
    monkeypatch.setattr(hash_limit, "WAIT_SECONDS", 0.01)
    settings.LOGIN_HASHES_AT_ONCE = 1


def busy() -> AbstractContextManager[None]:
    """Let another thread hold the only place for the block."""
    return held_in_thread(HASH_LIMIT.entered("192.0.2.1"))


Page = Callable[[User], tuple[str, dict[str, str]]]


def own_password(_user: User) -> tuple[str, dict[str, str]]:
    return reverse("admin:password_change"), {"old_password": "wrong", "new_password1": NEW, "new_password2": NEW}


def another_users_password(user: User) -> tuple[str, dict[str, str]]:
    return reverse("admin:auth_user_password_change", args=[user.pk]), {"password1": NEW, "password2": NEW}


def new_user(user: User) -> tuple[str, dict[str, str]]:
    shown = {"email": f"new-{user.pk}@example.com", "full_name": "New", "date_of_birth": "1999-12-31", "gender": "female", "active": "on"}
    return reverse("admin:accounts_user_add"), shown | {"usable_password": "true", "password1": NEW, "password2": NEW}


every_page = pytest.mark.parametrize("page", [own_password, another_users_password, new_user])


@pytest.mark.django_db
@every_page
def test_pages__busy__answer_with_retry_after(page: Page) -> None:
    user, client = UserFactory.create(), signed_in(superuser())
    address, posted = page(user)
    before = User.objects.count(), user.password
    with busy():
        response = client.post(address, posted)
        assert client.get(address).status_code == 200
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert "Nothing was changed." in response.content.decode()
    user.refresh_from_db()
    assert (User.objects.count(), user.password) == before
    assert client.post(address, posted).status_code in {200, 302}


@pytest.mark.django_db
def test_pages__busy_under_asgi__answer_503() -> None:
    client = AsyncClient()
    client.force_login(superuser())
    address, posted = another_users_password(UserFactory.create())
    with busy():
        response = async_to_sync(client.post)(address, posted)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert async_to_sync(client.post)(address, posted).status_code == 302


@pytest.mark.django_db
def test_login__takes_one_turn_for_all_its_hashes() -> None:
    """With one place, neither the verification nor the hash for an unknown name waits for a second one."""
    user = superuser(email="root@example.com")
    for name, status in ((user.email, 302), ("unknown@example.com", 200)):
        posted = {"username": name, "password": PASSWORD}
        assert Client().post(reverse("admin:login"), posted, REMOTE_ADDR="192.0.2.7").status_code == status


@pytest.mark.django_db
def test_hasher__encoding_and_verifying_take_a_turn() -> None:
    encoded = make_password(PASSWORD)
    for hash_one in (
        lambda: make_password(PASSWORD),
        lambda: check_password(PASSWORD, encoded),
        lambda: authenticate(username="a", password="b"),
    ):
        with busy(), pytest.raises(LoginBusy):
            hash_one()
        hash_one()


def test_turn__lasts_for_the_whole_block() -> None:
    with hashing_turn("192.0.2.1"), hashing_turn("192.0.2.1"), hashing_turn(None):
        assert HASH_LIMIT._inside == {"192.0.2.1"}
    assert HASH_LIMIT._inside == set()


@pytest.mark.django_db
def test_hasher__knows_the_network_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    networks: list[Any] = []
    entered = HASH_LIMIT.entered

    def entered_by(network: str | None) -> Any:
        networks.append(network)
        return entered(network)

    monkeypatch.setattr(HASH_LIMIT, "entered", entered_by)
    address, posted = another_users_password(UserFactory.create())
    assert signed_in(superuser()).post(address, posted, REMOTE_ADDR="192.0.2.9").status_code == 302
    assert "192.0.2.9" in networks
    networks.clear()
    make_password(PASSWORD)
    assert networks == [None]


@pytest.mark.django_db
def test_command__hashes_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    monkeypatch.setattr(hash_limit, "WAIT_SECONDS", 0)
    fields = {"email": "root@example.com", "full_name": "Root", "date_of_birth": "1980-01-01", "gender": "other"}
    call_command("createsuperuser", interactive=False, stdout=StringIO(), **fields)
    assert User.objects.get().check_password(PASSWORD)


@pytest.mark.at_length
@pytest.mark.django_db(transaction=True)
@pytest.mark.long
@every_page
def test_memory__six_concurrent_posts_of_one_user(page: Page) -> None:
    """The posts come from six networks, so that none waits for its network. Two hashes of 100 MB each run at once."""
    admin = superuser()
    User.objects.filter(pk=admin.pk).update(password=FullArgon2().encode(PASSWORD, "a-salt-of-a-test"))
    admin.refresh_from_db()
    sessions = [f"sessionid={signed_in(admin).cookies['sessionid'].value}" for _ in range(7)]  # setting a password renews the session
    users = [UserFactory.create() for _ in range(7)]
    with serving(SECRET_KEY=django_settings.SECRET_KEY, TRUSTED_PROXIES="127.0.0.1", LOGIN_HASHES_AT_ONCE="2") as web:

        def post(number: int) -> int:
            return post_page(web, sessions[number], page(users[number]), f"192.0.2.{number}")

        assert post(6) in {200, 302}
        before = web.peak_megabytes()  # includes one hash
        with ThreadPoolExecutor(6) as pool:
            statuses = set(pool.map(post, range(6)))
        assert statuses <= {200, 302, 503} and statuses != {503}
        assert web.peak_megabytes() - before < 1.5 * MEGABYTES_OF_A_HASH


def post_page(web: Web, session: str, page: tuple[str, dict[str, str]], network: str) -> int:
    address, posted = page
    opened = web.ask("GET", address, Cookie=session)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', opened.body)
    assert opened.status == 200 and token is not None
    cookie = f"{session}; {opened.headers['Set-Cookie'].partition(';')[0]}"
    body = urlencode({"csrfmiddlewaretoken": token[1], **posted})
    kind = "application/x-www-form-urlencoded"
    return web.ask("POST", address, body, Cookie=cookie, Content_Type=kind, X_Forwarded_For=network).status
