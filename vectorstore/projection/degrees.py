"""Latitudes and longitudes."""

from __future__ import annotations

from vectorstore.projection.shortened import shortened
from vectorstore.projection.vectors import NUMBERS


def latitude(value: object) -> float:
    """From -90 to 90. Raises ValueError with the reason."""
    return _degrees("lat", value, 90)


def longitude(value: object) -> float:
    """From -180 to 180. Raises ValueError with the reason."""
    return _degrees("lon", value, 180)


def _degrees(name: str, value: object, most: int) -> float:
    if type(value) not in NUMBERS or not isinstance(value, (int, float)):
        raise ValueError(f"{name} is not a number: {shortened(value)}")
    if not -most <= value <= most:  # NaN neither
        raise ValueError(f"{name} is {shortened(value)}, and must be from -{most} to {most}")
    return float(value)
