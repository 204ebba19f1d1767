"""The admin answers unusual requests with a page, a redirect or a 4xx, and never with a 500.

Some tests send two thousand requests that are generated from a seed.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.signals import got_request_exception
from django.db import transaction
from django.db.models import Model
from django.template.response import SimpleTemplateResponse
from django.test import Client
from django.urls import reverse

from accounts.models import User
from calls.models import VideoCall
from findme.core.admin.pagination import BoundedPaginator
from matching.models import Match
from tests.at_length import examples
from tests.factories import UserFactory
from tests.findme.core.admin.admin_inputs import Input, Inputs, page
from tests.findme.core.admin.test_lists import ROWS
from tests.support.html_form import fields_of
from tests.support.staff import said, signed_in, superuser
from videos.models import Video

pytestmark = [pytest.mark.django_db, pytest.mark.no_cover]

SEED = 20_260_101
RENDERED = 40
"""One of this many pages is rendered, because templates take most of the time of a request."""


@pytest.fixture
def client() -> Client:
    client = signed_in(superuser())
    client.raise_request_exception = False
    return client


@pytest.fixture
def inputs(db: None) -> Inputs:
    return Inputs(SEED, {model: make(1)[0] for model, make in ROWS.items()})


@pytest.fixture(autouse=True)
def few_pages_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the other pages, read the rows that the template would read."""
    render = SimpleTemplateResponse.rendered_content.fget  # type: ignore[attr-defined]
    asked = 0

    def rendered_content(response: Any) -> str:
        nonlocal asked
        asked += 1
        if asked % RENDERED == 0:
            return str(render(response))
        changelist = (response.context_data or {}).get("cl")
        return "" if changelist is None else str(len(list(changelist.result_list)))

    monkeypatch.setattr(SimpleTemplateResponse, "rendered_content", property(rendered_content))


def failures(client: Client, inputs: Iterable[Input]) -> list[str]:
    """Send each input, roll it back, and return inputs with a server error and the end of its traceback."""
    found: list[str] = []
    raised: list[str] = []

    def note(**_signal: Any) -> None:
        raised.append(traceback.format_exc(limit=-3))

    got_request_exception.connect(note)
    logging.disable()  # each rejected request would be logged with its traceback
    try:
        for one in inputs:
            with transaction.atomic():
                response = client.get(one.address) if one.data is None else client.post(one.address, one.data)
                if response.status_code >= 500:
                    found.append(f"{one}: {response.status_code} {raised[-1:]}")
                transaction.set_rollback(True)
    finally:
        logging.disable(logging.NOTSET)
        got_request_exception.disconnect(note)
    return found


@pytest.mark.parametrize(
    "query",
    [
        "created_at__year=0",
        "created_at__year=10000",
        "gender__range=x",
        "email__unaccent=x",
        "date_of_birth=x",
        "id=x",
        "nonsense=1",
    ],
)
def test_list__wrong_parameter_is_rejected(client: Client, query: str) -> None:
    """This also holds after Django has redirected the browser to the list with ``e=1``."""
    assert client.get(f"{page(User, 'changelist')}?{query}").status_code == 400
    assert client.get(f"{page(User, 'changelist')}?{query}&e=1").status_code == 400


def test_list__error_without_a_parameter_is_a_defect(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(BoundedPaginator, "page", fail)
    assert client.get(page(User, "changelist")).status_code == 500


@pytest.mark.parametrize("keys", [["x"], ["", "\0"], ["1" * 300]])
def test_action__wrong_key_changes_nothing(client: Client, keys: list[str]) -> None:
    person = UserFactory.create()
    response = client.post(page(User, "changelist"), {"action": "erase_selected", "_selected_action": [str(person.pk), *keys]}, follow=True)
    assert response.redirect_chain == [(page(User, "changelist"), 302)]
    (sentence,) = said(response)
    assert sentence == f"{keys[0][:40]!r} cannot be the key of a user: nothing was done. Select rows in the list."


@pytest.mark.parametrize("query", ["", "?_to_field=", "?_to_field=&_popup=1", "?_popup=1"])
def test_form__empty_to_field(client: Client, query: str) -> None:
    address = page(User, "change", UserFactory.create().pk)
    posted = fields_of(client.get(address)) | {"_to_field": "", "bio": "New."}
    assert client.get(address + query).status_code == 200
    assert client.post(address + query, posted).status_code in {200, 302}
    assert client.post(page(User, "delete", UserFactory.create().pk), {"_to_field": "", "post": "yes"}).status_code == 403


@pytest.mark.parametrize("address", ["/admin/r/6/x/", "/admin/r/x/x/", f"/admin/r/6/{'0' * 32}/", "/admin/autocomplete/"])
def test_unused_views__do_not_exist(client: Client, address: str) -> None:
    query = {"app_label": "auth", "model_name": "group", "field_name": "user", "term": "x"}
    assert client.get(address, query).status_code == 404


@pytest.mark.scaled
def test_lists__parameters(client: Client, inputs: Inputs) -> None:
    assert failures(client, inputs.lists(examples(900))) == []


@pytest.mark.scaled
def test_lists__actions(client: Client, inputs: Inputs) -> None:
    assert failures(client, inputs.actions(examples(300))) == []


@pytest.mark.scaled
def test_pages__keys_and_parameters(client: Client, inputs: Inputs) -> None:
    assert failures(client, inputs.pages(examples(400))) == []


@pytest.mark.scaled
def test_forms__values(client: Client, inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses: list[tuple[type[Model], str]] = [
        (model, page(model, "change", inputs.rows[model].pk)) for model in (User, Video, Match, VideoCall, Group)
    ]
    addresses += [(model, page(model, "add")) for model in (User, Video, Match, VideoCall, Group)]
    addresses += [(User, reverse("admin:auth_user_password_change", args=[inputs.rows[User].pk])), (User, reverse("admin:password_change"))]
    with monkeypatch.context() as rendered:
        rendered.setattr("tests.findme.core.admin.test_fuzz.RENDERED", 1)
        posted = {(model, address): fields_of(client.get(address)) for model, address in addresses}
    assert failures(client, inputs.forms(examples(400), posted)) == []
