"""Concurrent posts to the login of several processes: the limits of guesses and of memory hold."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from itertools import islice

import pytest
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.db import transaction

from accounts.login.attempts import MAX_PAIR_FAILURES, find_account, network_lock, record_failure, record_login
from accounts.models import User
from tests.factories import PASSWORD, UserFactory
from tests.support.threads import in_thread
from tests.support.web import DEADLINE, LoginForm, Web, post_together, serving

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long]

HOME, ELSEWHERE = "192.0.2.7", "198.51.100.9"
MEGABYTES_OF_A_HASH = 100


@pytest.fixture(params=[1, pytest.param(3, marks=pytest.mark.at_length)])
def webs(request: pytest.FixtureRequest) -> Iterator[list[Web]]:
    """One process, and three, behind one proxy."""
    with ExitStack() as stack:
        yield [stack.enter_context(serving(TRUSTED_PROXIES="127.0.0.1")) for _ in range(request.param)]


@pytest.mark.at_length
def test_locking__five_guesses_of_many_processes_at_once(webs: list[Web]) -> None:
    """Twelve concurrent wrong passwords a process are five guesses. Then that network is locked out, and another one can log in."""
    user = UserFactory.create(superuser=True)
    User.objects.filter(pk=user.pk).update(password=Argon2PasswordHasher().encode(PASSWORD, "a-salt-of-a-test"))
    form = LoginForm.opened(webs[0])
    statuses = Counter[int]()
    while not statuses[429]:  # on a slow machine other posts wait too long for the first ones: 503
        statuses += post_together(form, [(webs[n % len(webs)], user.email, "wrong", HOME) for n in range(12 * len(webs))])
    assert statuses[200] == MAX_PAIR_FAILURES
    assert set(statuses) <= {200, 429, 503}
    assert AccessFailureLog.objects.count() == MAX_PAIR_FAILURES
    assert AccessAttempt.objects.get().failures_since_start == MAX_PAIR_FAILURES
    assert [form.post(web, user.email, PASSWORD, HOME).status for web in webs] == [429] * len(webs)
    assert form.post(webs[-1], user.email, PASSWORD, ELSEWHERE).status == 302


@pytest.mark.at_length
def test_hashing__sixteen_concurrent_posts_use_the_memory_of_two() -> None:
    """The posts come from 16 networks, so that none waits for another post of its network."""
    with serving(TRUSTED_PROXIES="127.0.0.1", LOGIN_HASHES_AT_ONCE="2") as web:
        form = LoginForm.opened(web)
        form.post(web, "warm@example.com", "wrong", ELSEWHERE)
        before = web.peak_megabytes()  # includes one hash
        statuses = post_together(form, [(web, f"unknown{n}@example.com", "wrong", f"192.0.2.{n}") for n in range(16)])
        assert set(statuses) <= {200, 503} and statuses[200] >= 2
        assert web.peak_megabytes() - before < 1.5 * MEGABYTES_OF_A_HASH


@pytest.mark.at_length
def test_threads__one_network_does_not_occupy_all() -> None:
    """Of 24 posts of one network to a process with 8 threads, 22 are refused and 2 hold a thread. The first one cannot end."""
    network_of_the_test = HOME
    waits_for_the_test = (
        "import findme.wsgi\nfrom accounts.login import attempts, hash_limit\nattempts.LOCK_WAIT_SECONDS = hash_limit.WAIT_SECONDS = 600\n"
    )
    with serving(None, waits_for_the_test, TRUSTED_PROXIES="127.0.0.1", THREADS_OF_THE_TEST="8") as web, ThreadPoolExecutor(24) as posts:
        form = LoginForm.opened(web)
        with network_lock(network_of_the_test):
            sent = [posts.submit(form.post, web, "unknown@example.com", "wrong", HOME) for _ in range(24)]
            refused = [one.result() for one in islice(as_completed(sent, DEADLINE), 22)]
            assert {(one.status, one.headers["Retry-After"]) for one in refused} == {(503, "5")}
            assert [web.ask("GET", path).status for path in ("/healthz", "/admin/login/")] == [200, 200]
            assert [one.done() for one in sent].count(False) == 2
        assert Counter(one.result().status for one in sent) == {503: 22, 200: 2}


@pytest.mark.at_length
def test_hashing__busy__answers_with_retry_after() -> None:
    """The only place of the process is held for longer than an attempt waits."""
    network_of_the_test = HOME
    with serving(TRUSTED_PROXIES="127.0.0.1", LOGIN_HASHES_AT_ONCE="1") as web, network_lock(network_of_the_test):
        form = LoginForm.opened(web)
        answer = form.post(web, "unknown@example.com", "wrong", HOME)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert "Nothing was checked." in answer.body
    assert AccessFailureLog.objects.count() == 0


@pytest.mark.parametrize("what", ["failure", "login"])
def test_records__during_an_anonymization_hold_no_data_of_the_user(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt found the account before the anonymization, and is recorded before the anonymization commits."""
    user = UserFactory.create(superuser=True)
    account = find_account(user.email)
    recorded = threading.Event()

    def record() -> None:
        if what == "failure":
            with network_lock(HOME):
                record_failure(user.email, account, HOME)
        else:
            record_login(user, HOME)
        recorded.set()

    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        thread = in_thread(record)
        assert not recorded.wait(0.5)
        User.objects.filter(pk=user.pk).update(email=f"deleted_{user.pk}@findme.ai")
    thread.result()
    assert not AccessFailureLog.objects.filter(username=str(user.pk)).exists()
    assert not AccessLog.objects.exists()
