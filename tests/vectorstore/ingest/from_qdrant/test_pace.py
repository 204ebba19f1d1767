"""The rate of reading, by a clock that the test moves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vectorstore.ingest.from_qdrant.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@given(rate=st.integers(1, 1000), pages=st.lists(st.tuples(st.integers(1, 500), st.floats(0, 3)), max_size=20))
def test_wait__rate__is_never_exceeded(rate: int, pages: list[tuple[int, float]]) -> None:
    """Each page takes a time of its own. After a slow page, such as one that waited for a lock, the next ones are not faster."""
    clock = Clock()
    pace = Pace(rate, clock=lambda: clock.now, sleep=clock.sleep)
    for size, seconds in pages:
        begun = clock.now
        clock.now += seconds
        pace.wait(size)
        assert size / rate <= clock.now - begun + 1e-6


def test_wait__no_rate__does_not_wait() -> None:
    clock = Clock()
    pace = Pace(None, clock=lambda: clock.now, sleep=clock.sleep)
    pace.wait(10_000)
    assert clock.now == 100
    assert pace.page_size(500) == 500


def test_page_size__low_rate__is_one_second() -> None:
    assert Pace(10).page_size(500) == 10
    assert Pace(1000).page_size(500) == 500
