"""HTTP content encodings, both ways, in parts.

Clients compress each part of a body on its own, so a body may hold several frames (members, streams), one after
another: each decoder starts anew where a frame ends. A body that ends inside a frame is an error, never data.
"""

from __future__ import annotations

import re
import zlib
from typing import Final, Protocol

import cramjam
import lz4.frame  # type: ignore[import-untyped]  # it has no stubs
import zstandard

from extensions.embedded_clickhouse.failures import (
    CANNOT_DECOMPRESS,
    REQUEST_TOO_LARGE,
    UNKNOWN_COMPRESSION_METHOD,
    QueryFailed,
)

ENCODINGS: Final = ("lz4", "zstd", "gzip", "deflate", "br")
"""Names as in Content-Encoding; the ones that cost the processor least come first and are preferred in answers."""

_ZSTD_WINDOW: Final = 128 << 20
_LARGEST_PART: Final = 1 << 20
_TOKEN: Final = re.compile(r"\s*([\w*-]+)\s*(?:;\s*q=([\d.]+))?\s*", re.ASCII)


class Frame(Protocol):
    """One frame being decompressed."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, /) -> bytes: ...


class Decoder:
    """Undoes a content encoding. Raises QueryFailed for what is not in that encoding, or is over the limit."""

    def __init__(self, encoding: str, limit: int) -> None:
        if encoding not in (*ENCODINGS, "", "identity"):
            raise QueryFailed.of(
                UNKNOWN_COMPRESSION_METHOD,
                f"Unknown compression method {encoding!r} in Content-Encoding; use one of {', '.join(ENCODINGS)}",
            )
        self._encoding = "" if encoding == "identity" else encoding
        self._frame: Frame | None = None
        self._whole = bytearray()  # brotli's, which has no way to see where a frame ends
        self._limit = limit
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        """Return what these bytes of the body decompress to."""
        if not self._encoding:
            return self._counted(data)
        if self._encoding == "br":
            self._whole += data
            check_size(len(self._whole), self._limit)
            return b""
        parts = []
        try:
            # a part of the input at a time, so that a bomb is noticed before it has unfolded (zstd: up to 32 768 times)
            part = min(_LARGEST_PART, max(1024, self._limit >> 10))
            for start in range(0, len(data), part):
                left: bytes | None = data[start : start + part]
                while left:
                    frame = self._frame or _frame(self._encoding, left)
                    parts.append(self._counted(frame.decompress(left)))
                    self._frame = None if frame.eof else frame
                    left = frame.unused_data if frame.eof else None
        except (zlib.error, zstandard.ZstdError, RuntimeError, EOFError) as error:
            raise self._broken(str(error)) from error
        return b"".join(parts)

    def finish(self) -> bytes:
        """Return the rest, at the end of the body. Raises QueryFailed if a frame is cut short."""
        if self._frame is not None:
            raise self._broken("the body ends in the middle of a frame")
        data = bytes(self._whole)
        parts = []
        while data:
            end = self._brotli_end(data)
            parts.append(self._counted(self._brotli(data[:end])))
            data = data[end:]
        return b"".join(parts)

    def _brotli_end(self, data: bytes) -> int:
        """Return where the first stream in `data` ends. The decoder does not tell, but fails on a byte less."""
        if not self._is_brotli(data[:-1]):
            return len(data)
        short, enough = 0, len(data) - 1
        while enough - short > 1:
            middle = (short + enough) // 2
            if self._is_brotli(data[:middle]):
                enough = middle
            else:
                short = middle
        return enough

    def _is_brotli(self, data: bytes) -> bool:
        try:
            self._brotli(data)
        except QueryFailed as error:
            return error.code == REQUEST_TOO_LARGE  # it unfolds all the same
        return True

    def _brotli(self, data: bytes) -> bytes:
        size = min(self._limit, max(1 << 16, 8 * len(data)))
        while True:
            room = bytearray(size)
            try:
                written = cramjam.brotli.decompress_into(data, room)
            except cramjam.DecompressionError as error:
                if "whole buffer" not in str(error):
                    raise self._broken(str(error)) from error
                check_size(size + 1, self._limit)
                size = min(self._limit, 4 * size)
            else:
                return bytes(memoryview(room)[:written])

    def _counted(self, data: bytes) -> bytes:
        self._size += len(data)
        check_size(self._size, self._limit)
        return data

    def _broken(self, why: str) -> QueryFailed:
        return QueryFailed.of(CANNOT_DECOMPRESS, f"cannot decompress the body as {self._encoding}: {why}")


def check_size(size: int, limit: int) -> None:
    """Raise QueryFailed for a body over `limit` bytes."""
    if size > limit:
        raise QueryFailed.of(REQUEST_TOO_LARGE, f"the request's body is over {limit} bytes after decompression")


def _frame(encoding: str, head: bytes) -> Frame:
    match encoding:
        case "gzip":
            return zlib.decompressobj(31)
        case "deflate":
            # RFC 9110 says zlib, some clients send raw deflate: RFC 1950 section 2.2 tells them apart
            is_zlib = head[0] & 15 == 8 and (len(head) < 2 or (head[0] << 8 | head[1]) % 31 == 0)
            return zlib.decompressobj(15 if is_zlib else -15)
        case "zstd":
            return zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        case _:
            decompressor: Frame = lz4.frame.LZ4FrameDecompressor()
            return decompressor


class Encoder:
    """Applies a content encoding to a stream; one of ENCODINGS."""

    def __init__(self, encoding: str) -> None:
        self._lz4 = lz4.frame.LZ4FrameCompressor() if encoding == "lz4" else None
        self._zstd = zstandard.ZstdCompressor(level=1).compressobj() if encoding == "zstd" else None
        self._zlib = (
            zlib.compressobj(1, wbits=31 if encoding == "gzip" else 15) if encoding in {"gzip", "deflate"} else None
        )
        self._brotli = cramjam.brotli.Compressor(1) if encoding == "br" else None
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        if self._lz4:
            head = b"" if self._begun else self._lz4.begin()
            self._begun = True
            return bytes(head + self._lz4.compress(data))
        if self._zstd:
            return self._zstd.compress(data)
        if self._zlib:
            return self._zlib.compress(data)
        assert self._brotli
        self._brotli.compress(data)
        return bytes(self._brotli.flush())

    def finish(self) -> bytes:
        if self._lz4:
            return bytes((b"" if self._begun else self._lz4.begin()) + self._lz4.flush())
        if self._zstd:
            return self._zstd.flush()
        if self._zlib:
            return self._zlib.flush()
        assert self._brotli
        return bytes(self._brotli.finish())


def accepted(header: str) -> str | None:
    """Choose an encoding for the answer from Accept-Encoding (RFC 9110 section 12.5.3); None for none."""
    offered = set()
    for part in header.split(","):
        match = _TOKEN.fullmatch(part)
        if match and float(match[2] or 1) > 0:
            offered.add(match[1].lower())
    return next((name for name in ENCODINGS if name in offered), None)
