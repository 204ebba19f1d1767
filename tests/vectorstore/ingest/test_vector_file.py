"""Reading the vector of a search from a file."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.vectorstore.ingest.inputs import file_error, open_pipe
from vectorstore.ingest.formats.vector_file import LONGEST_FILE, read_vector

ONES = [1.0] * 512

refusal = partial(file_error, read_vector)


def test_json__array_of_numbers__is_read(tmp_path: Path) -> None:
    path = tmp_path / "vector.json"
    path.write_text(json.dumps(ONES))
    assert read_vector(path).tolist() == ONES


@pytest.mark.parametrize("array", [np.ones(512, np.float16), np.ones((1, 512)), np.ones(512, int), np.asfortranarray(np.ones(512))])
def test_npy__one_vector__is_read(tmp_path: Path, array: Any) -> None:
    path = tmp_path / "vector.npy"
    np.save(path, array)
    assert read_vector(path).tolist() == ONES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "FILE is not a JSON array of 512 numbers: Expecting value: line 1 column 1 (char 0)."),
        (
            "[" * 100_000,
            "FILE is not a JSON array of 512 numbers: maximum recursion depth exceeded while decoding a JSON array from a unicode string.",
        ),
        ("{}", "FILE: the vector is not a list of numbers."),
        ("[1]", "FILE: the vector has 1 number, and must have 512."),
        (json.dumps([0] * 512), "FILE: the vector is all zeros as 32-bit numbers: it has no direction."),
        (json.dumps([*ONES[1:], float("nan")]), "FILE: the vector number 512 is NaN."),
        (" " * (LONGEST_FILE + 1), "FILE is longer than 1,048,576 bytes. Save only one vector of 512 numbers."),
    ],
)
def test_json__invalid__is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "vector.json"
    path.write_text(text)
    assert refusal(path) == message


def test_json__not_utf8__is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vector.json"
    path.write_bytes(b"[\xff]")
    assert refusal(path).startswith("FILE is not a JSON array of 512 numbers: 'utf-8' codec can't decode byte 0xff")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones(511), "FILE has the shape (511,). Save one vector of the shape (512,)."),
        (np.ones((2, 512)), "FILE has the shape (2, 512). Save one vector of the shape (512,)."),
        (np.zeros(512), "FILE: the vector is all zeros as 32-bit numbers: it has no direction."),
        (np.array(["1"] * 512), "FILE: the vector is not a list of numbers."),
        (
            np.array([None] * 512),
            "FILE contains pickled Python objects, which are never read. Save it as numbers or texts of a fixed length.",
        ),
    ],
)
def test_npy__invalid__is_refused(tmp_path: Path, array: Any, message: str) -> None:
    path = tmp_path / "vector.npy"
    np.save(path, array)
    assert refusal(path) == message


def test_npy__truncated__is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vector.npy"
    np.save(path, np.ones(512))
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(path) == "FILE is damaged: it has fewer than 512 numbers. Save it again with numpy."


def test_read__missing_file__is_reported(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.json") == "FILE cannot be read: No such file or directory."


def test_read__directory__is_reported(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "FILE cannot be read: Is a directory."


@pytest.mark.parametrize("suffix", ["json", "npy"])
def test_read__pipe_or_device__is_refused(tmp_path: Path, suffix: str) -> None:
    pipe, device = tmp_path / f"pipe.{suffix}", tmp_path / f"device.{suffix}"
    device.symlink_to("/dev/zero")
    with open_pipe(pipe):
        for path in (pipe, device):
            assert refusal(path) == "FILE is not an ordinary file. Save the vector to a file."
