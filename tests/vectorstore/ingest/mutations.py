"""Changes of a file, as damage and attackers make them."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable, Sequence

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
TOKENS = (
    b"null",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 5000,
    b"[" * 3000,
    b'{"a":' * 3000,
    b'"\\ud800"',
    b'"\\u0000"',
    b"\0",
    b"\xff",
    b"\n",
    b'"user_id":1,',
    b"{}",
    b"[]",
    b'"' + b"x" * 200 + b'"',
    b"1e-46",
    b"-0",
    b"true",
)


def changed(chance: random.Random, originals: Sequence[bytes], *, as_text: bool) -> bytes:
    """Return one of the files, changed in one to four places."""
    content = bytearray(chance.choice(originals))
    changes = TEXT_CHANGES if as_text else CHANGES
    for _ in range(chance.randint(1, 4)):
        chance.choice(changes)(chance, content, originals)
    return bytes(content)


def changed_inside(chance: random.Random, originals: Sequence[bytes]) -> bytes:
    """Return a zip file with one member changed, and with the checksums that belong to it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(chance.choice(originals))) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        damaged = chance.choice(old.namelist())
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, changed(chance, [content[:200], content], as_text=False) if name == damaged else content)
    return stream.getvalue()


def _place(chance: random.Random, content: bytearray) -> int:
    """Return a place, more often one near the end: zip and Parquet have their lists there."""
    place = chance.randrange(len(content) + 1)
    return max(len(content) - chance.randrange(600), 0) if chance.random() < 0.4 else place


def _flip(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    if (place := _place(chance, content)) < len(content):
        content[place] ^= 1 << chance.randrange(8)


def _overwrite(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    size = chance.choice((1, 2, 4, 8))
    place = _place(chance, content)
    number = (chance.choice(INTERESTING) + chance.choice((-1, 0, 0, 1))) % (1 << 8 * size)
    content[place : place + size] = number.to_bytes(size, chance.choice(("little", "big")))


def _delete(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    place = _place(chance, content)
    del content[place : place + chance.choice((1, 4, 100, 2000))]


def _repeat(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    place, size = _place(chance, content), chance.choice((1, 8, 300))
    content[place:place] = content[place : place + size] * chance.choice((1, 2, 50))


def _insert(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    place = _place(chance, content)
    content[place:place] = chance.randbytes(chance.choice((1, 4, 100)))


def _cut(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    del content[_place(chance, content) :]


def _splice(chance: random.Random, content: bytearray, originals: Sequence[bytes]) -> None:
    other = chance.choice(originals)
    content[_place(chance, content) :] = other[chance.randrange(len(other)) :]


def _token(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    place = _place(chance, content)
    content[place : place + chance.choice((0, 1, 10))] = chance.choice(TOKENS)


def _value(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    """Put a token where a value begins, so that the line often stays JSON."""
    starts = [place for place, byte in enumerate(content) if byte in b":,["]
    if starts:
        place = chance.choice(starts) + 1
        ends = [end for end in (content.find(mark, place) for mark in b",]}") if end >= 0]
        content[place : min(ends, default=place)] = chance.choice(TOKENS)


CHANGES: Sequence[Callable[[random.Random, bytearray, Sequence[bytes]], None]] = (
    _flip,
    _flip,
    _overwrite,
    _overwrite,
    _delete,
    _repeat,
    _insert,
    _cut,
    _splice,
)
TEXT_CHANGES = (*CHANGES, _token, _value, _value, _value, _value)
