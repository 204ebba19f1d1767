"""WSGI and ASGI start only with production settings, end in one line otherwise, and never start a database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from django.contrib.staticfiles import finders
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.test import AsyncClient

from tests.support.processes import PRODUCTION, python

both = pytest.mark.parametrize("module", ["findme.wsgi", "findme.asgi"])
SHOW = "from django.conf import settings; from {module} import application; print(settings.DEBUG, callable(application))"


@both
def test_application__missing_settings__are_named_in_one_line(module: str) -> None:
    line = (
        "Not set: DATABASE_URL (postgresql://USER:PASSWORD@HOST:PORT/NAME); SECRET_KEY (50 random characters, kept secret);"
        " ALLOWED_HOSTS (the host names of this site, separated by commas)."
        " Set what is missing in the environment or in .env, as .env.example shows.\n"
    )
    assert python("-c", f"import {module}") == (3, "", line)


@pytest.mark.at_length
@pytest.mark.parametrize("missing", ["DATABASE_URL", "SECRET_KEY", "ALLOWED_HOSTS"])
def test_application__also_with_debug_on(missing: str, tmp_path: Path) -> None:
    folder = tmp_path / "pg"
    code, out, err = python("-c", "import findme.wsgi", **(PRODUCTION | {"DEBUG": "on", missing: "", "EMBEDDED_POSTGRES_DIR": str(folder)}))
    assert (code, out) == (3, "")
    assert err.startswith(f"Not set: {missing} (") and err.count("\n") == 1
    assert not folder.exists()


@pytest.mark.at_length
def test_application__a_wrong_setting_in_one_line() -> None:
    assert python("-c", "import findme.wsgi", **(PRODUCTION | {"CONN_MAX_AGE": "long"})) == (
        3,
        "",
        "CONN_MAX_AGE is 'long': it must be a whole number, 0 or more.\n",
    )


@pytest.mark.at_length
@both
def test_application__debug__is_off_by_default(module: str) -> None:
    code = SHOW.format(module=module)
    assert python("-W", "ignore:No directory at", "-c", code, **(PRODUCTION | {"DEBUG": ""})) == (0, "False True\n", "")


@async_to_sync
async def fetched(path: str, **headers: str) -> tuple[int, list[bytes]]:
    """Return the status and the parts of a streamed file. In the tests a warning is an error."""
    response: HttpResponseBase = await AsyncClient().get(path, headers=headers)
    assert isinstance(response, StreamingHttpResponse) and response.is_async
    parts = [part async for part in response]
    response.close()
    return response.status_code, parts


def test_asgi__files_are_read_in_parts() -> None:
    """It runs in a separate thread: after a browser test, the thread of the tests has an event loop."""
    found = finders.find("admin/css/base.css")
    assert isinstance(found, str)
    with ThreadPoolExecutor(max_workers=1) as thread:
        status, parts = thread.submit(fetched, "/static/admin/css/base.css").result()
        assert (status, b"".join(parts)) == (200, Path(found).read_bytes())
        assert len(parts) > 1
        part = thread.submit(fetched, "/static/admin/css/base.css", Range="bytes=10-19").result()
        assert part == (206, [Path(found).read_bytes()[10:20]])
