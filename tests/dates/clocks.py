"""The days on which the suite runs, and the setting that moves the clocks there."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

SITE = Path(__file__).parent / "site"
VARIABLE = "FINDME_TEST_CLOCK"
HOUR = "T11:00"
"""The default time of a clock: the local date is a day later at UTC+14 and a day earlier at UTC-12."""


@dataclass(frozen=True)
class Clock:
    """A time at which a run of the suite starts, and the time zone of the machine (TZ)."""

    name: str
    start: datetime
    zone: str

    def environment(self, libfaketime: Path) -> dict[str, str]:
        """Return the variables with which ``site/sitecustomize.py`` moves the clocks of a process and its children."""
        setting = {
            "offset": round(self.start.timestamp() - time.time()),
            "zone": self.zone,
            "start": self.start.isoformat(),
            "libfaketime": str(libfaketime),
        }
        folders = [str(SITE), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {VARIABLE: json.dumps(setting), "TZ": self.zone, "PYTHONPATH": os.pathsep.join(folders)}


def parse(name: str) -> Clock:
    """Read ``2028-02-29``, ``2028-02-28T23:58`` (UTC) or ``2026-12-31@Pacific/Kiritimati``. Raises ValueError."""
    moment, _, zone = name.partition("@")
    start = datetime.strptime(moment if "T" in moment else moment + HOUR, "%Y-%m-%dT%H:%M").replace(tzinfo=UTC)
    return Clock(name, start, ZoneInfo(zone or "UTC").key)


CLOCKS = tuple(
    map(
        parse,
        (
            "2028-02-28",
            "2028-02-29",
            "2026-12-31",  # in ISO week 53
            "2027-01-01",  # in ISO week 53 of 2026
            "2026-12-31@Pacific/Kiritimati",  # UTC+14: the local date is in 2027
            "2027-01-01@Etc/GMT+12",  # UTC-12: the local date is in 2026
            "2028-02-28T23:58",  # midnight passes during the run
            "2036-11-29",  # demo data and certificates are ten years old
        ),
    )
)
