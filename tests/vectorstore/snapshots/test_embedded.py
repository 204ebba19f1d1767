from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "arguments",
    [["create"], ["list"], ["download", "a", "."], ["restore", "a"], ["delete", "a", "--no-input"], ["prune", "--keep", "1", "--no-input"]],
)
def test_qdrant_snapshot__embedded__names_qdrant_url(embedded_qdrant: Path, arguments: list[str]) -> None:
    with pytest.raises(CommandError, match=r"^The embedded vector store has no snapshots\. Set QDRANT_URL to a Qdrant server\.$") as raised:
        call_command("qdrant_snapshot", *arguments)
    assert raised.value.returncode == 2
    assert not embedded_qdrant.exists()
