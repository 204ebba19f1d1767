"""The process that decodes Parquet: files that decode to gigabytes, rows that are too long, and a process that ends early."""

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
from tests.vectorstore.ingest.inputs import file_error, frames_in_process
from vectorstore.ingest.formats.parquet import answers, decoder
from vectorstore.ingest.formats.parquet import process as parquet_process
from vectorstore.ingest.formats.parquet.decoder import LONGEST_ROW, plain_batch, size_of
from vectorstore.ingest.formats.parquet.process import ROWS_AT_A_TIME, Summary, batches_of
from vectorstore.ingest.formats.parquet.reader import check_parquet, read_parquet
from vectorstore.ingest.rows import Kind, Rejection, Row

ANNE = UUID("11111111-1111-4111-8111-111111111111")
MANY = 20_000_000
"""Elements of a list, which take less than 2,000 bytes in the file."""

UNDECODABLE = "FILE is damaged, or row {} needs more than 128 MiB. Write it again with smaller row groups and pages."
NOT_STARTED = "The process that decodes Parquet cannot start: {}. Free memory or end other processes, then run the command again."

refusal = partial(file_error, lambda path: list(read_parquet(path, "x")))


def user_ids(count: int) -> list[str]:
    return [str(UUID(int=number + 1)) for number in range(count)]


def one_list(values: Any) -> Any:
    return pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), values)


def saved(folder: Path, columns: dict[str, Any], **options: Any) -> Path:
    path = folder / "x.parquet"
    pq.write_table(pa.table(columns), path, **{"compression": "zstd"} | options)
    return path


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_process, "frames_of", frames_in_process)


BOMBS: dict[str, Callable[[], Any]] = {
    "interests": lambda: pa.DictionaryArray.from_arrays(pa.array(np.zeros(MANY, np.int32), pa.int32()), pa.array(["a"])),
    "video_features": lambda: pa.array(np.zeros(MANY, np.float32), pa.float32()),
}


@pytest.mark.long
@pytest.mark.parametrize("field", BOMBS)
def test_read__list_that_decodes_to_hundreds_of_megabytes(tmp_path: Path, field: str) -> None:
    path = saved(tmp_path, {"user_id": [str(ANNE)], field: one_list(BOMBS[field]())})
    assert path.stat().st_size < 2000
    assert refusal(path) == UNDECODABLE.format(1)


@pytest.mark.at_length
@pytest.mark.parametrize("interests", [lambda: one_list(pa.nulls(MANY)), lambda: pa.array([["x" * (4 * MANY)]])], ids=["nulls", "one text"])
def test_read__interests_that_decode_to_hundreds_of_megabytes(tmp_path: Path, interests: Any) -> None:
    path = saved(tmp_path, {"user_id": [str(ANNE)], "interests": interests()}, use_dictionary=False)
    assert refusal(path) == UNDECODABLE.format(1)


@pytest.mark.long
def test_read__rows_that_together_need_more_than_the_memory_are_decoded_one_by_one(tmp_path: Path) -> None:
    """Each of them is too long; the last one is not, and none is reported twice."""
    count = 150
    path = saved(tmp_path, {"user_id": user_ids(count + 1), "interests": [["x" * (LONGEST_ROW + 1)]] * count + [["sea"]]})
    *rejected, last = read_parquet(path, "x")
    assert [entry.line for entry in rejected if isinstance(entry, Rejection)] == list(range(1, count + 1))
    assert isinstance(last, Row) and (last.line, last.content.interests) == (count + 1, ("sea",))


def test_read__by_the_real_process(tmp_path: Path) -> None:
    """It leaves no process, also where only a part of the rows is read."""
    count = 2 * ROWS_AT_A_TIME + 1
    path = saved(tmp_path, {"user_id": user_ids(count)})
    before = children()
    assert check_parquet(path) == count
    rows = list(read_parquet(path, "x"))
    assert [row.content.user_id.int for row in rows if isinstance(row, Row)] == list(range(1, count + 1))
    batches = batches_of(path)
    assert isinstance(next(batches), Summary)
    del batches
    assert children() == before


def children() -> set[int]:
    """The processes that this one has started and not yet waited for. A thread that ends meanwhile is left out."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            found.update(int(pid) for pid in (task / "children").read_text().split())
    return found


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()], ids=str)
def test_read__row_that_is_too_long_among_others(tmp_path: Path, kind: Any) -> None:
    """In a dictionary, a long text is stored once and used often."""
    interests = [["sea"], [f"{'x' * 200_000}{number % 5}" for number in range(6)], ["lake"], ["x" * (LONGEST_ROW + 1)]]
    path = saved(tmp_path, {"user_id": [*user_ids(3), "y" * 2000], "interests": pa.array(interests, pa.list_(kind))})
    first, long, third, last = read_parquet(path, "x.parquet")
    assert isinstance(first, Row) and isinstance(third, Row) and third.content.interests == ("lake",)
    assert isinstance(long, Rejection) and isinstance(last, Rejection)
    assert (long.file, long.line, long.kind, long.reason) == ("x.parquet", 2, Kind.TOO_LONG, "the row is longer than 1,048,576 bytes")
    assert (long.original(), last.original()) == ({"user_id": user_ids(3)[1]}, {})


@pytest.mark.usefixtures("in_process")
def test_read__list_of_nulls_that_is_too_long(tmp_path: Path) -> None:
    (found,) = read_parquet(saved(tmp_path, {"user_id": [str(ANNE)], "interests": one_list(pa.nulls(LONGEST_ROW))}), "x")
    assert isinstance(found, Rejection) and found.kind == Kind.TOO_LONG


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("field", ["user_id", "vector"])
def test_read__page_checksum_that_is_wrong(tmp_path: Path, field: str) -> None:
    numbers = np.arange(1, 513, dtype=np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(numbers), 512)
    path = saved(
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
def test_check__more_ids_than_the_file_can_hold(tmp_path: Path) -> None:
    path = saved(tmp_path, {"user_id": pa.nulls(10_000_000, pa.string())}, row_group_size=10_000_000)
    with pytest.raises(
        UserFacingError, match=r"Parquet file: it claims 10,000,000 rows, but [\d,]+ bytes cannot contain so many distinct ids$"
    ):
        check_parquet(path)


@pytest.mark.usefixtures("in_process")
def test_check__list_of_columns_that_is_too_long(tmp_path: Path) -> None:
    path = saved(tmp_path, {f"{'x' * 1000}{number}": [1] for number in range(100)})
    with pytest.raises(UserFacingError, match=r"its list of columns is longer than 65,536 bytes$"):
        check_parquet(path)


@pytest.mark.usefixtures("in_process")
def test_check__names_and_types_are_cut(tmp_path: Path) -> None:
    fields = [(f"{'x' * 100}\n{number}", pa.int8()) for number in range(20)]
    for columns in ({"user_id": ["x"], "y" * 5000: [1]}, {"user_id": ["x"], "location": pa.array([None], pa.struct(fields))}):
        with pytest.raises(UserFacingError) as raised:
            check_parquet(saved(tmp_path, columns))
        assert len(str(raised.value)) < 500 and "\n" not in str(raised.value)


def answer_with(monkeypatch: pytest.MonkeyPatch, *runs: list[tuple[bytes, bytes]]) -> list[tuple[int, int]]:
    """Have the process answer RUNS, one for each start. Return what it is started with."""
    left, started = iter(runs), []

    def frames_of(path: Path, rows_at_a_time: int, skip: int) -> Iterator[tuple[bytes, bytes]]:
        started.append((rows_at_a_time, skip))
        yield from next(left)

    monkeypatch.setattr(parquet_process, "frames_of", frames_of)
    return started


@pytest.mark.parametrize("last", [[], [(decoder.NO_MEMORY, b"")]], ids=["killed", "out of memory"])
def test_read__process_that_ends_early_is_started_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: list[tuple[bytes, bytes]]
) -> None:
    path = saved(tmp_path, {"user_id": user_ids(3)})
    two_rows = list(frames_in_process(path, 2, 0))[:2]
    third_row = list(frames_in_process(path, 1, 2))
    started = answer_with(monkeypatch, [*two_rows, *last], third_row)
    assert [row.line for row in read_parquet(path, "x")] == [1, 2, 3]
    assert started == [(ROWS_AT_A_TIME, 0), (1, 2)]
    answer_with(monkeypatch, [*two_rows, *last], last)
    assert refusal(path) == UNDECODABLE.format(3)
    answer_with(monkeypatch, last)
    with pytest.raises(UserFacingError, match=r"is damaged, or its list of columns needs more than 128 MiB\. Write it again"):
        check_parquet(path)


def test_frames__end_with_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process that crashes has not written whole is not used, and a length that it cannot have written is not believed."""
    for written in (b"", b"B\0\0", b"B\0\0\0\x05abcd", b"B\xff\xff\xff\xff"):
        path = tmp_path / "frame"
        path.write_bytes(written)
        with path.open("rb") as stream:
            assert parquet_process._frame(stream) is None


@pytest.mark.usefixtures("in_process")
def test_decoder__skips_whole_row_groups_and_parts(tmp_path: Path) -> None:
    path = saved(tmp_path, {"user_id": user_ids(25)}, row_group_size=10)
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


def test_program__ends_when_the_parent_reads_no_more(tmp_path: Path) -> None:
    """Where the parent was killed, writing fails."""
    path, others = saved(tmp_path, {"user_id": user_ids(20_000)}), children()
    frames = parquet_process.frames_of(path, 1, 0)
    next(frames)
    (pid,) = children() - others
    frames.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_read__process_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a fork that the system refuses, nor a program that is not there, says anything about the file."""
    path = saved(tmp_path, {"user_id": [str(ANNE)]})

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    with monkeypatch.context() as patched:
        patched.setattr("subprocess.Popen", refuse)
        assert refusal(path) == NOT_STARTED.format("Cannot allocate memory")
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    assert refusal(path) == NOT_STARTED.format("No such file or directory")


@pytest.mark.parametrize(("program", "code"), [("import os; os.kill(os.getpid(), 9)", -9), ("raise MemoryError", 1)])
def test_read__process_that_ends_before_it_has_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, code: int) -> None:
    """As while it imports pyarrow, where no memory is left."""
    path = saved(tmp_path, {"user_id": [str(ANNE)]})
    (tmp_path / "early.py").write_text(program)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(decoder, "__name__", "early")
    assert refusal(path) == NOT_STARTED.format(f"it ended with code {code}")


SILENT = "The process that decodes FILE sent nothing for 0.5 seconds and was ended. Check the disk of the file, then run the command again."


@pytest.mark.parametrize("stopped", ["before it has begun", "between two rows"])
def test_read__process_that_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: str) -> None:
    """The rows that it has sent are read, and then it is ended."""
    monkeypatch.setattr(answers, "SECONDS", 0.5)
    path, others = saved(tmp_path, {"user_id": user_ids(20_000)}), children()
    if stopped == "before it has begun":
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


def test_answers__process_that_is_slow_is_not_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sends for longer than it may be silent."""
    monkeypatch.setattr(answers, "SECONDS", 2)
    program = "import os, time\nfor _ in range(12): time.sleep(0.3); os.write(1, b'x')"
    with subprocess.Popen([sys.executable, "-c", program], bufsize=0, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert answers.Answers(process.stdout, tmp_path).read() == b"x" * 12


def test_answers__time_in_which_this_process_was_stopped_does_not_count(tmp_path: Path) -> None:
    """As after Ctrl-Z and fg."""
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
def test_decoder__gives_a_sign_of_life_while_it_skips(tmp_path: Path) -> None:
    path = saved(tmp_path, {"user_id": user_ids(7)}, row_group_size=5)
    tags = [tag for tag, _ in frames_in_process(path, 1, 4)]
    assert tags == [decoder.SUMMARY, *[decoder.SKIPPED] * 4, *[decoder.BATCH] * 3, decoder.END]
