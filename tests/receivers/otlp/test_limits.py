"""Decompression: whole, strict, bounded."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable
from contextlib import suppress

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Malformed, TooLarge
from receivers.otlp.limits import ENCODINGS, inflate

TEXT = b"a span with an attribute; " * 400 + os.urandom(500)


def raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


FORMS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("zlib", zlib.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("zstd", lambda body: bytes(cramjam.zstd.compress(body))),
    ("snappy", lambda body: bytes(cramjam.snappy.compress_raw(body))),
    ("snappy", lambda body: bytes(cramjam.snappy.compress(body))),
    ("x-snappy-framed", lambda body: bytes(cramjam.snappy.compress(body))),
    ("lz4", lambda body: bytes(cramjam.lz4.compress(body))),
]
forms = pytest.mark.parametrize(("encoding", "compress"), FORMS)
several_members = pytest.mark.parametrize(("encoding", "compress"), [FORMS[0], FORMS[4], FORMS[7], FORMS[8]])


def test_every_encoding_is_tried_here() -> None:
    """Scenario: the list of accepted encodings grows. Guarantees: this file covers each."""
    assert {encoding for encoding, _ in FORMS} | {""} == set(ENCODINGS)


@forms
def test_round_trip(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    """Scenario: a body in each encoding, exactly as large as allowed. Guarantees: the body, unchanged."""
    assert inflate(compress(TEXT), encoding, len(TEXT)) == TEXT


@forms
def test_one_byte_too_many(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    """Scenario: one byte over the limit. Guarantees: TooLarge, which names the limit."""
    with pytest.raises(TooLarge, match=f"max_request_body_size: {len(TEXT) - 1} bytes"):
        inflate(compress(TEXT), encoding, len(TEXT) - 1)


@forms
def test_cut_short(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    """Scenario: a body without its last byte, and with only its first half. Guarantees: Malformed, no partial data."""
    whole = compress(TEXT)
    for cut in (whole[:-1], whole[: len(whole) // 2]):
        with pytest.raises(Malformed):
            inflate(cut, encoding, 1 << 20)


@forms
def test_garbage_after_the_end(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    """Scenario: other bytes follow a whole body. Guarantees: Malformed, not silence."""
    with pytest.raises(Malformed):
        inflate(compress(TEXT) + b"garbage!", encoding, 1 << 20)


@several_members
def test_several_members_in_a_row(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    """Scenario: an encoding whose format allows several members. Guarantees: all of them, under one limit together."""
    assert inflate(compress(TEXT) + compress(b"end"), encoding, 1 << 20) == TEXT + b"end"
    with pytest.raises(TooLarge):
        inflate(compress(TEXT) + compress(TEXT), encoding, 2 * len(TEXT) - 1)


@forms
def test_bomb_stops_at_the_limit(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    """Scenario: 16 MiB of zeros in a small body, limit 1 MiB. Guarantees: TooLarge."""
    with pytest.raises(TooLarge):
        inflate(compress(bytes(16 << 20)), encoding, 1 << 20)


@given(st.binary(max_size=300), st.sampled_from(ENCODINGS[1:]))
def test_any_bytes_are_a_body_or_an_error(body: bytes, encoding: str) -> None:
    """Scenario: any bytes at all. Guarantees: a result within the limit, Malformed or TooLarge; nothing else."""
    with suppress(Malformed, TooLarge):
        assert len(inflate(body, encoding, 1000)) <= 1000


def test_no_encoding_is_left_alone() -> None:
    """Scenario: a body without compression. Guarantees: the same object; its size was checked when it was read."""
    assert inflate(TEXT, "", 10) is TEXT
