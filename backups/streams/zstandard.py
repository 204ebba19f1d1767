"""zstd: in the standard library since Python 3.14, before that in a package with the same API."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression.zstd import CompressionParameter, DecompressionParameter, ZstdCompressor, ZstdDecompressor, ZstdError
else:
    from backports.zstd import CompressionParameter, DecompressionParameter, ZstdCompressor, ZstdDecompressor, ZstdError

__all__ = ["MAGIC", "ZstdError", "compressor", "decompressor"]

MAGIC = b"\x28\xb5\x2f\xfd"
"""The first bytes of a frame (RFC 8878)."""
LEVEL = 1
"""The fastest one: most bytes of a backup are vectors, which hardly compress at any level."""
LARGEST_WINDOW = 23
"""The exponent of the memory that a frame may ask for: 8 MiB, as RFC 8878 recommends. Level 1 asks for 512 KiB."""


def compressor() -> ZstdCompressor:
    """Return a compressor of one frame, which ends with zstd's own checksum."""
    return ZstdCompressor(options={CompressionParameter.compression_level: LEVEL, CompressionParameter.checksum_flag: 1})


def decompressor() -> ZstdDecompressor:
    """Return a decompressor of one frame."""
    return ZstdDecompressor(options={DecompressionParameter.window_log_max: LARGEST_WINDOW})
