"""``upsert_embeddings``: its output and exit codes, and the contents of both stores."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from tests.factories import UserFactory
from tests.qdrant import free_port
from tests.support.commands import manage
from tests.vectorstore.ingest.inputs import json_lines, ones, row
from vectorstore.ingest import rejected_lines
from vectorstore.ingest.formats.parquet import answers, decoder
from vectorstore.models import ProfileEmbedding, QuarantinedUser
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import point_of
from vectorstore.sync.worker import sync_once


def upsert(*arguments: object) -> tuple[int, str, str]:
    """Run the command in this process. Return exit code, stdout and stderr."""
    out, err = StringIO(), StringIO()
    try:
        call_command("upsert_embeddings", *map(str, arguments), stdout=out, stderr=err)
    except SystemExit as exited:
        return int(str(exited.code)), out.getvalue(), err.getvalue()
    except CommandError as error:
        return error.returncode, out.getvalue(), f"{err.getvalue()}{error}\n"
    return 0, out.getvalue(), err.getvalue()


@pytest.mark.django_db
def test_upsert__writes_row_and_point(collection: str, tmp_path: Path) -> None:
    user, staff = UserFactory.create(), UserFactory.create(staff=True)
    fields = {"vector": ones(2), "location": {"lat": 52.5, "lon": 13.4}, "interests": ["sea"], "video_features": [0.5]}
    path = json_lines(tmp_path / "x.jsonl", [row(user.pk, **fields), row(staff.pk, vector=ones())])
    printed = "2 rows read, 2 loaded (2 of them new), 0 rejected.\n1 point written to the vector store.\n"
    assert upsert(path, "--model", "clip-3") == (0, printed, "")
    point = point_of(user.pk)
    assert point is not None and point_of(staff.pk) is None
    assert point["vector"] == pytest.approx([512**-0.5] * 512, abs=1e-6)
    payload = {name: point["payload"][name] for name in ("user_id", "gender", "location", "interests", "video_features")}
    assert payload == {
        "user_id": str(user.pk),
        "gender": user.gender,
        "location": {"lat": 52.5, "lon": 13.4},
        "interests": ["sea"],
        "video_features": [0.5],
    }
    assert ProfileEmbedding.objects.get(pk=user.pk).model == "clip-3"


@pytest.mark.django_db
def test_upsert__queue_only__writes_no_point(collection: str, tmp_path: Path) -> None:
    user = UserFactory.create()
    path = json_lines(tmp_path / "x.jsonl", [row(user.pk, vector=ones())])
    printed = "1 row read, 1 loaded (1 of them new), 0 rejected.\nTheir points are on the queue, for the workers of manage.py sync_qdrant --watch.\n"
    assert upsert(path, "--queue-only") == (0, printed, "")
    assert point_of(user.pk) is None
    assert sync_once().written == 1
    assert point_of(user.pk) is not None


@pytest.mark.django_db
def test_upsert__quarantined_user__is_reported(dates_unchecked: None, collection: str, tmp_path: Path) -> None:
    """PostgreSQL can store a date that Python cannot represent."""
    user, unreadable = UserFactory.create_batch(2)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users SET created_at = 'infinity' WHERE id = %s", [unreadable.pk])
    path = json_lines(tmp_path / "x.jsonl", [row(one.pk, vector=ones()) for one in (user, unreadable)])
    printed = (
        "2 rows read, 2 loaded (2 of them new), 0 rejected.\n1 point written to the vector store.\n"
        "1 user is quarantined because their data cannot be projected to a point. The admin shows the reasons and can retry them.\n"
    )
    assert upsert(path) == (1, printed, "")
    assert list(QuarantinedUser.objects.values_list("pk", flat=True)) == [unreadable.pk]


@pytest.mark.django_db
def test_upsert__null__clears_the_payload_too(collection: str, tmp_path: Path) -> None:
    user = UserFactory.create()
    upsert(json_lines(tmp_path / "x.jsonl", [row(user.pk, vector=ones(), location={"lat": 1, "lon": 2}, interests=["sea"])]))
    upsert(json_lines(tmp_path / "x.jsonl", [row(user.pk, location=None, interests=None)]))
    point = point_of(user.pk)
    assert point is not None
    assert "location" not in point["payload"] and point["payload"]["interests"] == []


@pytest.mark.django_db
def test_upsert__rejected_rows__are_on_stderr_with_exit_code_1(embedded_qdrant: Path, tmp_path: Path) -> None:
    initialize()
    unknown_id, path = uuid4(), tmp_path / "x.jsonl"
    json_lines(path, [row(UserFactory.create().pk, vector=ones()), row(unknown_id, vector=ones()), "{", "["])
    assert upsert(path) == (
        1,
        "4 rows read, 1 loaded (1 of them new), 3 rejected.\n  2 not JSON\n  1 unknown user\n1 point written to the vector store.\n",
        (
            f"{path}:2: no user has the id '{unknown_id}'\n"
            f"{path}:3: not JSON: Expecting property name enclosed in double quotes at character 2\n"
            f"{path}:4: not JSON: Expecting value at character 2\n"
        ),
    )


@pytest.mark.django_db
def test_upsert__many_rejected_rows__are_shown_in_part(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "x.jsonl", ["{"] * 1030)
    code, _, err = upsert(path)
    assert (code, len(err.splitlines())) == (1, 21)
    assert err.splitlines()[-1] == "... and 1,010 more rejected rows; --rejects FILE stores all of them"
    rejects = tmp_path / "rejects\x1b.jsonl"
    assert upsert(path, "--rejects", rejects)[2].splitlines()[-1] == f"... and 1,010 more rejected rows: {tmp_path}/rejects\\x1b.jsonl"
    assert len(rejects.read_text().splitlines()) == 1030


@pytest.mark.at_length
@pytest.mark.django_db
def test_upsert__small_files__make_no_large_rejects_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first file has 50 rows of 900 kB in a few hundred bytes, the second 2,000 rows of 2,600 bytes."""
    parquet, npz, rejects = tmp_path / "x.parquet", tmp_path / "x.npz", tmp_path / "rejects.jsonl"
    pq.write_table(pa.table({"user_id": ["x" * 900_000] * 50}), parquet, compression="zstd")
    np.savez_compressed(npz, user_ids=np.array([f"{number:036}" for number in range(2000)]), vectors=np.zeros((2000, 512), np.float16))
    for name, size in (("SPACE", 1 << 19), ("SPACE_PER_BYTE", 1), ("SHORT_SPACE", 1 << 17), ("SHORT_SPACE_PER_BYTE", 1)):
        monkeypatch.setattr(rejected_lines, name, size)
    code, out, err = upsert(parquet, npz, "--rejects", rejects)
    assert (code, out.splitlines()[0]) == (1, "2,050 rows read, 0 loaded (0 of them new), 2,050 rejected.")
    lines = [json.loads(line) for line in rejects.read_text().splitlines()]
    counts = {True: 0, False: 0}
    for line in lines[:-1]:
        counts["shortened" in line["row"]] += 1
    assert "omitted" in lines[-1]["row"] and counts[True] > 100 and counts[False] > 100
    explained = f"{rejects}: its maximum size depends on the size of the input."
    assert err.splitlines()[-2:] == [
        f"{counts[True]:,} rejected rows are shortened in {explained}",
        f"{2050 - len(lines) + 1:,} rejected rows are missing from {explained}",
    ]
    limit = 2 * ((1 << 19) + (1 << 17) + parquet.stat().st_size + npz.stat().st_size)
    assert rejects.stat().st_size < limit


@pytest.mark.at_length
@pytest.mark.django_db
def test_upsert__repeated_user_id_of_900_kilobytes__is_shortened(tmp_path: Path) -> None:
    path, rejects = tmp_path / "x.parquet", tmp_path / "rejects.jsonl"
    pq.write_table(pa.table({"user_id": ["x" * 900_000] * 50}), path, compression="zstd")
    assert upsert(path, "--rejects", rejects)[0] == 1
    assert (len(rejects.read_text().splitlines()), rejects.stat().st_size < 100_000) == (50, True)


def test_upsert__decoder_stops__ends_with_exit_code_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.parquet"
    path.touch()
    (tmp_path / "stopped.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(decoder, "__name__", "stopped")
    monkeypatch.setattr(answers, "SECONDS", 0.5)
    printed = f"The process that decodes '{path}' sent nothing for 0.5 seconds and was ended. Check the disk of the file, then run the command again.\n"
    assert upsert(path) == (2, "", printed)


@pytest.mark.django_db
def test_upsert__json__has_all_counts(collection: str, tmp_path: Path) -> None:
    path = json_lines(tmp_path / "x.jsonl", [row(UserFactory.create().pk, vector=ones()), "{"])
    code, out, _ = upsert(path, "--json")
    assert (code, json.loads(out)) == (
        1,
        {
            "read": 2,
            "loaded": 1,
            "loadable": 0,
            "new": 1,
            "rejected": 1,
            "reasons": {"not JSON": 1},
            "first_rejections": [f"{path}:2: not JSON: Expecting property name enclosed in double quotes at character 2"],
            "shortened_rejects": 0,
            "omitted_rejects": 0,
            "projected": 1,
            "quarantined": 0,
            "awaiting_projection": 0,
            "why_not_projected": None,
        },
    )


@pytest.mark.django_db
def test_upsert__dry_run__stores_nothing(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "x.jsonl", [row(UserFactory.create().pk, vector=ones())])
    assert upsert(path, "--dry-run") == (0, "1 row read, 1 would be loaded, 0 rejected.\n", "")
    reported = json.loads(upsert(path, "--dry-run", "--json")[1])
    assert (reported["read"], reported["loaded"], reported["loadable"]) == (1, 0, 1)
    assert not ProfileEmbedding.objects.exists()


@pytest.mark.django_db
def test_upsert__vector_store_unavailable__stores_rows_and_a_later_sync_writes_points(
    collection: str, tmp_path: Path, settings: Settings
) -> None:
    """The rows are stored, and one later command writes all points."""
    user = UserFactory.create()
    path = json_lines(tmp_path / "x.jsonl", [row(user.pk, vector=ones())])
    url, settings.QDRANT_URL = settings.QDRANT_URL, f"http://127.0.0.1:{free_port()}"
    code, out, err = upsert(path)
    assert (code, err) == (1, "")
    first, second = out.splitlines()
    assert first == "1 row read, 1 loaded (1 of them new), 0 rejected."
    assert second.startswith(
        f"1 user awaits projection: run manage.py sync_qdrant --once. Nothing answers at QDRANT_URL '{settings.QDRANT_URL}'"
    )
    settings.QDRANT_URL = url
    assert point_of(user.pk) is None
    call_command("sync_qdrant", "--once", stdout=StringIO())
    assert point_of(user.pk) is not None


@pytest.mark.django_db
def test_upsert__no_collection__stores_rows_and_names_init_qdrant(store: str, tmp_path: Path, settings: Settings) -> None:
    path = json_lines(tmp_path / "x.jsonl", [row(UserFactory.create().pk, vector=ones())])
    code, out, _ = upsert(path)
    missing = f"Qdrant has no collection {settings.QDRANT_COLLECTION!r}: make it with manage.py init_qdrant."
    assert (code, out.splitlines()[1]) == (1, f"1 user awaits projection: run manage.py sync_qdrant --once. {missing}")


@pytest.mark.django_db
def test_upsert__damaged_file__reports_what_was_loaded_before(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "x.jsonl", [""])
    good = json_lines(tmp_path / "good.jsonl", [row(uuid4(), vector=ones())])
    code, out, err = upsert(good, path)
    assert (code, out) == (2, "1 row read, 0 loaded (0 of them new), 1 rejected.\n  1 unknown user\n")
    assert err.splitlines()[-1] == (
        f"{path!r} contains no rows. Check the job that writes it. Loaded before that: 0 rows. Repair this, then run the command again: rows may be loaded twice."
    )


@pytest.mark.at_length
@pytest.mark.django_db(transaction=True)
def test_upsert__as_a_process__reads_standard_input(embedded_qdrant: Path, tmp_path: Path) -> None:
    initialize()
    user = UserFactory.create()
    lines = json.dumps(row(user.pk, vector=ones())) + "\n{\n"
    code, out, err = manage("upsert_embeddings", "-", "--rejects", tmp_path / "rejects.jsonl", stdin=lines)
    assert (code, out.splitlines()[0]) == (1, "2 rows read, 1 loaded (1 of them new), 1 rejected.")
    assert err == "-:2: not JSON: Expecting property name enclosed in double quotes at character 2\n"
    assert json.loads((tmp_path / "rejects.jsonl").read_text())["row"] == "{"
    assert point_of(user.pk) is not None


@pytest.mark.django_db
def test_upsert__missing_input__is_reported(tmp_path: Path) -> None:
    path = str(tmp_path / "none.npz")
    assert upsert(path) == (2, "", f"{path!r} cannot be read: No such file or directory\n")
