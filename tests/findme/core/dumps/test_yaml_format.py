"""The format ``yaml`` of ``dumpdata`` and ``loaddata`` without PyYAML."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import connection

from tests.findme.test_cli import url_of_the_test_server
from tests.support.processes import python

MISSING = "The format 'yaml' needs PyYAML, which is not installed. Use the format 'json', or install PyYAML.\n"
WITHOUT_YAML = "import runpy, sys; sys.modules['yaml'] = None; sys.argv = {!r}; runpy.run_path('manage.py', run_name='__main__')"


@pytest.mark.at_length
def test_dumpdata__yaml_without_pyyaml__names_the_package() -> None:
    code, out, err = python("-c", WITHOUT_YAML.format(["manage.py", "dumpdata", "accounts", "--format", "yaml"]))
    assert (code, out) == (2, "")
    assert err == f"CommandError: Unable to serialize database: {MISSING}"


@pytest.mark.at_length
@pytest.mark.django_db
def test_loaddata__yaml_without_pyyaml__names_the_package(tmp_path: Path) -> None:
    (tmp_path / "rows.yaml").write_text("[]\n")
    url = url_of_the_test_server(str(connection.settings_dict["NAME"]))
    arguments = ["manage.py", "loaddata", str(tmp_path / "rows.yaml")]
    assert python("-c", WITHOUT_YAML.format(arguments), DATABASE_URL=url) == (2, "", MISSING)
