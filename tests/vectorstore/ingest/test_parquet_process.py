"""The process that decodes Parquet: its memory limit, rows that are too long, and a process that ends early."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from findme.core.errors import UserFacingError
from tests.vectorstore.ingest.inputs import file_error, frames_in_process, numbered_ids
from vectorstore.ingest.formats.parquet import answers, decoder
from vectorstore.ingest.formats.parquet import process as parquet_process
from vectorstore.ingest.formats.parquet.decoder import LONGEST_ROW, plain_batch, size_of
from vectorstore.ingest.formats.parquet.process import ROWS_AT_A_TIME, Summary, batches_of
from vectorstore.ingest.formats.parquet.reader import check_parquet, read_parquet
from vectorstore.ingest.rows import Kind, Rejection, Row

ANNE = UUID("11111111-1111-4111-8111-111111111111")
ELEMENT_COUNT = 20_000_000
"""Number of elements in a list that takes less than 2,000 bytes in the file."""

UNDECODABLE = "FILE is damaged, or row {} needs more than 128 MiB. Write it again with smaller row groups and pages."
NOT_STARTED = "The process that decodes Parquet cannot start: {}. Free memory or end other processes, then run the command again."

refusal = partial(file_error, lambda path: list(read_parquet(path, "x")))


def list_column(values: Any) -> Any:
    return pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), values)


def save(folder: Path, columns: dict[str, Any], **options: Any) -> Path:
    path = folder / "x.parquet"
    pq.write_table(pa.table(columns), path, **{"compression": "zstd"} | options)
    return path


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_process, "frames_of", frames_in_process)


LARGE_LISTS: dict[str, Callable[[], Any]] = {
    "interests": lambda: pa.DictionaryArray.from_arrays(pa.array(np.zeros(ELEMENT_COUNT, np.int32), pa.int32()), pa.array(["a"])),
    "video_features": lambda: pa.array(np.zeros(ELEMENT_COUNT, np.float32), pa.float32()),
}


@pytest.mark.at_length
@pytest.mark.long
@pytest.mark.parametrize("field", LARGE_LISTS)
def test_read__list_that_decodes_to_hundreds_of_megabytes__is_refused(tmp_path: Path, field: str) -> None:
    path = save(tmp_path, {"user_id": [str(ANNE)], field: list_column(LARGE_LISTS[field]())})
    assert path.stat().st_size < 2000
    assert refusal(path) == UNDECODABLE.format(1)


@pytest.mark.at_length
@pytest.mark.parametrize(
    "interests", [lambda: list_column(pa.nulls(ELEMENT_COUNT)), lambda: pa.array([["x" * (4 * ELEMENT_COUNT)]])], ids=["nulls", "one text"]
)
def test_read__interests_that_decode_to_hundreds_of_megabytes__are_refused(tmp_path: Path, interests: Any) -> None:
    path = save(tmp_path, {"user_id": [str(ANNE)], "interests": interests()}, use_dictionary=False)
    assert refusal(path) == UNDECODABLE.format(1)


@pytest.mark.at_length
@pytest.mark.long
def test_read__batch_needs_too_much_memory__decodes_rows_one_by_one(tmp_path: Path) -> None:
    """Every row but the last is too long, and none is reported twice."""
    count = 150
    path = save(tmp_path, {"user_id": numbered_ids(count + 1), "interests": [["x" * (LONGEST_ROW + 1)]] * count + [["sea"]]})
    *rejected, last = read_parquet(path, "x")
    assert [entry.line for entry in rejected if isinstance(entry, Rejection)] == list(range(1, count + 1))
    assert isinstance(last, Row) and (last.line, last.content.interests) == (count + 1, ("sea",))


def test_read__real_process__reads_all_rows_and_ends(tmp_path: Path) -> None:
    """The process ends, even if only a part of the rows is read."""
    count = 2 * ROWS_AT_A_TIME + 1
    path = save(tmp_path, {"user_id": numbered_ids(count)})
    before = children()
    assert check_parquet(path) == count
    rows = list(read_parquet(path, "x"))
    assert [row.content.user_id.int for row in rows if isinstance(row, Row)] == list(range(1, count + 1))
    batches = batches_of(path)
    assert isinstance(next(batches), Summary)
    del batches
    assert children() == before


def children() -> set[int]:
    """Return the child processes of this process. A thread that ends meanwhile is skipped."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            found.update(int(pid) for pid in (task / "children").read_text().split())
    return found


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()], ids=str)
def test_read__row_is_too_long__is_rejected(tmp_path: Path, kind: Any) -> None:
    """In a dictionary, a long text is stored once and used often."""
    interests = [["sea"], [f"{'x' * 200_000}{number % 5}" for number in range(6)], ["lake"], ["x" * (LONGEST_ROW + 1)]]
    path = save(tmp_path, {"user_id": [*numbered_ids(3), "y" * 2000], "interests": pa.array(interests, pa.list_(kind))})
    first, long, third, last = read_parquet(path, "x.parquet")
    assert isinstance(first, Row) and isinstance(third, Row) and third.content.interests == ("lake",)
    assert isinstance(long, Rejection) and isinstance(last, Rejection)
    assert (long.file, long.line, long.kind, long.reason) == ("x.parquet", 2, Kind.TOO_LONG, "the row is longer than 1,048,576 bytes")
    assert (long.original(), last.original()) == ({"user_id": numbered_ids(3)[1]}, {})


@pytest.mark.usefixtures("in_process")
def test_read__list_of_nulls_is_too_long__is_rejected(tmp_path: Path) -> None:
    (found,) = read_parquet(save(tmp_path, {"user_id": [str(ANNE)], "interests": list_column(pa.nulls(LONGEST_ROW))}), "x")
    assert isinstance(found, Rejection) and found.kind == Kind.TOO_LONG


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("field", ["user_id", "vector"])
def test_read__wrong_page_checksum__is_refused(tmp_path: Path, field: str) -> None:
    numbers = np.arange(1, 513, dtype=np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(numbers), 512)
    path = save(
        tmp_path,
        {"user_id": [str(ANNE)], "vector": vectors},
        compression="none",
        use_dictionary=False,
        write_page_checksum=True,
        write_statistics=False,
    )
    content = path.read_bytes()
    place = content.index(str(ANNE).encode() if field == "user_id" else numbers.tobytes())
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    assert "CRC checksum verification failed" in refusal(path)


@pytest.mark.usefixtures("in_process")
def test_check__more_ids_than_the_file_can_contain__is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, {"user_id": pa.nulls(10_000_000, pa.string())}, row_group_size=10_000_000)
    with pytest.raises(
        UserFacingError, match=r"Parquet file: it claims 10,000,000 rows, but [\d,]+ bytes cannot contain so many distinct ids$"
    ):
        check_parquet(path)


@pytest.mark.usefixtures("in_process")
def test_check__list_of_columns_is_too_long__is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, {f"{'x' * 1000}{number}": [1] for number in range(100)})
    with pytest.raises(UserFacingError, match=r"its list of columns is longer than 65,536 bytes$"):
        check_parquet(path)


@pytest.mark.usefixtures("in_process")
def test_check__long_names_and_types__are_shortened(tmp_path: Path) -> None:
    fields = [(f"{'x' * 100}\n{number}", pa.int8()) for number in range(20)]
    for columns in ({"user_id": ["x"], "y" * 5000: [1]}, {"user_id": ["x"], "location": pa.array([None], pa.struct(fields))}):
        with pytest.raises(UserFacingError) as raised:
            check_parquet(save(tmp_path, columns))
        assert len(str(raised.value)) < 500 and "\n" not in str(raised.value)


def replace_process(monkeypatch: pytest.MonkeyPatch, *runs: list[tuple[bytes, bytes]]) -> list[tuple[int, int]]:
    """Replace the process: each start sends the next of ``runs``. Return a list that receives the arguments of each start."""
    left, starts = iter(runs), []

    def frames_of(path: Path, rows_at_a_time: int, skip: int) -> Iterator[tuple[bytes, bytes]]:
        starts.append((rows_at_a_time, skip))
        yield from next(left)

    monkeypatch.setattr(parquet_process, "frames_of", frames_of)
    return starts


@pytest.mark.parametrize("last", [[], [(decoder.NO_MEMORY, b"")]], ids=["killed", "out of memory"])
def test_read__process_ends_early__is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: list[tuple[bytes, bytes]]
) -> None:
    path = save(tmp_path, {"user_id": numbered_ids(3)})
    two_rows = list(frames_in_process(path, 2, 0))[:2]
    third_row = list(frames_in_process(path, 1, 2))
    starts = replace_process(monkeypatch, [*two_rows, *last], third_row)
    assert [row.line for row in read_parquet(path, "x")] == [1, 2, 3]
    assert starts == [(ROWS_AT_A_TIME, 0), (1, 2)]
    replace_process(monkeypatch, [*two_rows, *last], last)
    assert refusal(path) == UNDECODABLE.format(3)
    replace_process(monkeypatch, last)
    with pytest.raises(UserFacingError, match=r"is damaged, or its list of columns needs more than 128 MiB\. Write it again"):
        check_parquet(path)


def test_frame__incomplete_or_impossible__ends_the_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crashed process leaves an incomplete frame. A length that is too large is not trusted."""
    for content in (b"", b"B\0\0", b"B\0\0\0\x05abcd", b"B\xff\xff\xff\xff"):
        path = tmp_path / "frame"
        path.write_bytes(content)
        with path.open("rb") as stream:
            assert parquet_process._frame(stream) is None


@pytest.mark.usefixtures("in_process")
def test_decoder__skip__skips_row_groups_and_parts(tmp_path: Path) -> None:
    path = save(tmp_path, {"user_id": numbered_ids(25)}, row_group_size=10)
    for skip in range(26):
        left = [
            answer.num_rows for answer in parquet_process._answers(path, rows_at_a_time=4, skip=skip) if isinstance(answer, pa.RecordBatch)
        ]
        assert sum(left) == 25 - skip


@pytest.mark.parametrize("list_of", [pa.list_, pa.large_list, pa.list_view, pa.large_list_view])
@pytest.mark.parametrize("kind", [pa.dictionary(pa.int8(), pa.string()), pa.string_view(), pa.binary_view(), pa.string()], ids=str)
def test_plain_batch__keeps_the_values(list_of: Any, kind: Any) -> None:
    values = [["sea", "lake"], None, [], ["sea", None]]
    column = pa.array(values, list_of(kind))
    (plain,) = plain_batch(pa.RecordBatch.from_arrays([column], ["interests"])).columns
    plain.validate(full=True)
    as_bytes = kind == pa.binary_view()
    assert plain.to_pylist() == [row and [text.encode() if as_bytes and text is not None else text for text in row] for row in values]
    assert size_of(pa.RecordBatch.from_arrays([plain.slice(0, 1)], ["interests"])) < size_of(
        pa.RecordBatch.from_arrays([plain], ["interests"])
    )
    assert isinstance(plain.type, (pa.ListType, pa.LargeListType))


def test_program__parent_stops_reading__ends(tmp_path: Path) -> None:
    """Writing to the closed pipe fails."""
    path, others = save(tmp_path, {"user_id": numbered_ids(20_000)}), children()
    frames = parquet_process.frames_of(path, 1, 0)
    next(frames)
    (pid,) = children() - others
    frames.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_read__process_cannot_start__is_reported_without_blaming_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system refuses a fork, or the program is missing."""
    path = save(tmp_path, {"user_id": [str(ANNE)]})

    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    with monkeypatch.context() as patched:
        patched.setattr("subprocess.Popen", fail)
        assert refusal(path) == NOT_STARTED.format("Cannot allocate memory")
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    assert refusal(path) == NOT_STARTED.format("No such file or directory")


@pytest.mark.parametrize(("program", "code"), [("import os; os.kill(os.getpid(), 9)", -9), ("raise MemoryError", 1)])
def test_read__process_ends_before_it_starts_decoding__is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, code: int
) -> None:
    """As when no memory is available while it imports pyarrow."""
    path = save(tmp_path, {"user_id": [str(ANNE)]})
    (tmp_path / "early.py").write_text(program)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(decoder, "__name__", "early")
    assert refusal(path) == NOT_STARTED.format(f"it ended with code {code}")


SILENT = "The process that decodes FILE sent nothing for 0.5 seconds and was ended. Check the disk of the file, then run the command again."


@pytest.mark.parametrize("stopped", ["before it starts decoding", "between two rows"])
def test_read__process_stops__is_ended_after_the_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: str) -> None:
    """The rows that it has already sent are read first."""
    monkeypatch.setattr(answers, "SECONDS", 0.5)
    path, others = save(tmp_path, {"user_id": numbered_ids(20_000)}), children()
    if stopped == "before it starts decoding":
        (tmp_path / "early.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(decoder, "__name__", "early")
        assert refusal(path) == SILENT
    else:
        monkeypatch.setattr(answers, "SECONDS", 60)
        frames = parquet_process.frames_of(path, 1, 0)
        next(frames)
        (pid,) = children() - others
        os.kill(pid, signal.SIGSTOP)
        monkeypatch.setattr(answers, "SECONDS", 0.5)
        with pytest.raises(UserFacingError) as raised:
            list(frames)
        assert str(raised.value).replace(repr(str(path)), "FILE") == SILENT
    assert children() == others


@pytest.mark.at_length
def test_answers__slow_process__is_not_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes longer than the timeout, but never pauses for so long."""
    monkeypatch.setattr(answers, "SECONDS", 2)
    program = "import os, time\nfor _ in range(12): time.sleep(0.3); os.write(1, b'x')"
    with subprocess.Popen([sys.executable, "-c", program], bufsize=0, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert answers.Answers(process.stdout, tmp_path).read() == b"x" * 12


@pytest.mark.at_length
def test_answers__this_process_was_stopped__its_time_does_not_count(tmp_path: Path) -> None:
    """As after Ctrl-Z and ``fg``."""
    program = """
        import os, sys
        from pathlib import Path
        from vectorstore.ingest.formats.parquet import answers
        answers.SECONDS = 2
        with open(0, "rb", buffering=0) as pipe:
            pipe.read(1)
            print("waits", flush=True)
            print(answers.Answers(pipe, Path("x")).read(1))
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"+")
        assert process.stdout.readline() == b"waits\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(3)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.2)
        process.stdin.write(b"x")
        assert process.stdout.read() == b"b'x'\n"


@pytest.mark.usefixtures("in_process")
def test_decoder__skipping_rows__sends_a_frame_for_each_batch(tmp_path: Path) -> None:
    path = save(tmp_path, {"user_id": numbered_ids(7)}, row_group_size=5)
    tags = [tag for tag, _ in frames_in_process(path, 1, 4)]
    assert tags == [decoder.SUMMARY, *[decoder.SKIPPED] * 4, *[decoder.BATCH] * 3, decoder.END]
