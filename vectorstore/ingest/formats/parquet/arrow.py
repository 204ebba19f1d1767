"""Arrow types of Parquet columns: which types each field may have, and their values in the form of JSON Lines.

pandas, polars and DuckDB write the same table with different types. An empty list has no element type, texts may be dictionary-encoded or views,
and numbers may be decimals. The same rows must load equally from each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa

from vectorstore.ingest.rows import BadRow, Kind

UUID_BYTES = 16

LISTS = (pa.ListType, pa.LargeListType, pa.FixedSizeListType, pa.ListViewType, pa.LargeListViewType)


def value_of(name: str, scalar: Any) -> object:
    """Return a list of numbers as an array, and any other value in the form of JSON Lines.

    16 bytes become a ``UUID``. Raises BadRow for a text that is not UTF-8.
    """
    if name in ("vector", "video_features") and scalar.is_valid and is_plain_number(scalar.values.type) and not scalar.values.null_count:
        return scalar.values.to_numpy(zero_copy_only=False)
    try:
        return _as_json(name, scalar.as_py())
    except UnicodeDecodeError:
        raise BadRow(Kind(f"bad {name}"), f"{name} is not UTF-8") from None


def _as_json(name: str, value: object) -> object:
    match value:
        case bytes() if name == "user_id" and len(value) == UUID_BYTES:
            return UUID(bytes=value)
        case bytes():
            return value.decode()
        case Decimal() | np.floating():
            return float(value)
        case list():
            return [_as_json(name, inner) for inner in value]
        case dict():
            return {key: _as_json(name, inner) for key, inner in value.items()}
    return value


def is_list(kind: pa.DataType) -> bool:
    return isinstance(kind, LISTS)


def is_plain_number(kind: pa.DataType) -> bool:
    """Return whether numpy has a type for these numbers."""
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def misfit(name: str, kind: pa.DataType) -> str | None:
    """Return the required type of the column ``name`` in words, or None if ``kind`` is allowed."""
    wanted, fits = TYPES[name]
    stored = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    # pandas and polars write a column that contains only nulls with the type null.
    return None if pa.types.is_null(stored) or fits(stored) else wanted


def _is_text(kind: pa.DataType) -> bool:
    """Return whether this is a text type. Bytes count too: writers without logical types store UTF-8 as bytes."""
    plain = kind.value_type if isinstance(kind, pa.DictionaryType) else kind
    types = pa.types
    texts = types.is_string(plain) or types.is_large_string(plain) or types.is_string_view(plain)
    return texts or types.is_binary(plain) or types.is_large_binary(plain) or types.is_binary_view(plain) or types.is_null(plain)


def _is_user_id(kind: pa.DataType) -> bool:
    return _is_text(kind) or kind == pa.binary(UUID_BYTES)


def _is_number(kind: pa.DataType) -> bool:
    return is_plain_number(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)


def _is_list_of(kind: pa.DataType, fits: Callable[[pa.DataType], bool]) -> bool:
    return isinstance(kind, LISTS) and fits(kind.value_type)


def _is_location(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and {field.name for field in kind} == {"lat", "lon"} and all(_is_number(field.type) for field in kind)


TYPES: Mapping[str, tuple[str, Callable[[pa.DataType], bool]]] = {
    "user_id": ("a text, 16 bytes or a UUID", _is_user_id),
    "vector": ("a list of numbers", lambda kind: _is_list_of(kind, _is_number)),
    "location": ("a struct of the numbers lat and lon", _is_location),
    "interests": ("a list of texts", lambda kind: _is_list_of(kind, _is_text)),
    "video_features": ("a list of numbers", lambda kind: _is_list_of(kind, _is_number)),
}
