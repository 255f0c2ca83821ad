"""Decompression of request bodies: whole, strict and bounded.

A body that is cut short, corrupt or followed by garbage is an error, and a bomb costs no more memory than the limit.
Only whole bodies, no streams: OTLP decodes whole requests.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import cramjam
import numpy as np

from pipeline.errors import Malformed, TooLarge

ENCODINGS: Final = ("", "gzip", "zstd", "zlib", "snappy", "deflate", "lz4", "x-snappy-framed")
"""`Content-Encoding`s of the Collector (confighttp, `compression_algorithms`); the empty one is none."""

_SNAPPY_STREAM: Final = b"\xff\x06\x00\x00sNaPpY"
"""How a framed stream begins (Snappy framing format, 4.1). As a raw block it would be a copy from before the start."""

_OVERFLOW: Final = "failed to write whole buffer"
"""What cramjam says when the output buffer is too small."""


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Return `body` without its compression.

    `encoding` is one of ENCODINGS. Raises Malformed where the body is not wholly of that encoding, TooLarge as soon as
    more than `limit` bytes would come out.
    """
    return _INFLATE[encoding](body, limit) if encoding else body


def over_limit(limit: int) -> TooLarge:
    """Return the error for a body of more than `limit` bytes."""
    return TooLarge(f"the body is over max_request_body_size: {limit} bytes")


def _zlib_members(body: bytes, limit: int, window_bits: int, name: str) -> bytes:
    """Several members in a row, each complete, are one gzip file (RFC 1952, 2.2); the other formats have one."""
    parts: list[bytes] = []
    room = limit
    while True:
        decompressor = zlib.decompressobj(window_bits)
        try:
            # One byte more than there is room for: max_length 0 would be no limit.
            part = decompressor.decompress(body, room + 1)
        except zlib.error as error:
            raise Malformed(f"the body is not {name}: {error}") from error
        room -= len(part)
        if room < 0:
            raise over_limit(limit)
        if not decompressor.eof:
            raise Malformed(f"the {name} body is cut short")
        parts.append(part)
        body = decompressor.unused_data
        if not body:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        if name != "gzip":
            raise Malformed(f"{len(body)} bytes follow the end of the {name} body")


def _gzip(body: bytes, limit: int) -> bytes:
    return _zlib_members(body, limit, 16 + zlib.MAX_WBITS, "gzip")


def _deflate(body: bytes, limit: int) -> bytes:
    """RFC 9110 means zlib's format (RFC 1950), but some clients send bare deflate (RFC 1951)."""
    wrapped = len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and (body[0] << 8 | body[1]) % 31 == 0
    return _zlib_members(body, limit, zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS, "deflate")


def _into_buffer(decompress_into: Callable[[bytes, Any], int], name: str) -> Callable[[bytes, int], bytes]:
    def decompress(body: bytes, limit: int) -> bytes:
        # Memory is touched only as far as it is written; a bytearray would be filled with zeros first.
        room = np.empty(limit, dtype=np.uint8)
        try:
            size = decompress_into(body, room)
        except cramjam.DecompressionError as error:
            if _OVERFLOW in str(error):
                raise over_limit(limit) from error
            raise Malformed(f"the body is not {name}: {error}") from error
        return room[:size].tobytes()

    return decompress


_snappy_framed: Final = _into_buffer(cramjam.snappy.decompress_into, "x-snappy-framed")


def _snappy(body: bytes, limit: int) -> bytes:
    """One raw block; like the Collector, also a framed stream that is called `snappy`."""
    if body.startswith(_SNAPPY_STREAM):
        return _snappy_framed(body, limit)
    try:
        if cramjam.snappy.decompress_raw_len(body) > limit:
            raise over_limit(limit)
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as error:
        raise Malformed(f"the body is not snappy: {error}") from error


_INFLATE: Final[Mapping[str, Callable[[bytes, int], bytes]]] = {
    "gzip": _gzip,
    "zlib": _deflate,
    "deflate": _deflate,
    "zstd": _into_buffer(cramjam.zstd.decompress_into, "zstd"),
    "snappy": _snappy,
    "x-snappy-framed": _snappy_framed,
    "lz4": _into_buffer(cramjam.lz4.decompress_into, "lz4"),
}
