from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("arguments", [[], ["--dry-run"], ["--snapshots", "--log", "--drop-retained"]])
def test_purge_qdrant__embedded__names_qdrant_url(embedded_qdrant: Path, arguments: list[str]) -> None:
    line = r"^The embedded vector store has no segments, logs and snapshots that could be purged\. Set QDRANT_URL to a Qdrant server\.$"
    with pytest.raises(CommandError, match=line) as raised:
        call_command("purge_qdrant", *arguments)
    assert raised.value.returncode == 2
    assert not embedded_qdrant.exists()
