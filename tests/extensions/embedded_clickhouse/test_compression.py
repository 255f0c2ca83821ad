"""Content encodings, as clients send them and as they are answered."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import cramjam
import lz4.frame  # type: ignore[import-untyped]  # it has no stubs
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from extensions.embedded_clickhouse.compression import ENCODINGS, Decoder, Encoder, accepted
from extensions.embedded_clickhouse.failures import QueryFailed

LIMIT = 1 << 20
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
    "lz4": lz4.frame.compress,
    "br": lambda data: bytes(cramjam.brotli.compress(data, level=1)),
}


def decode(encoding: str, body: bytes, size: int, limit: int = LIMIT) -> bytes:
    decoder = Decoder(encoding, limit)
    parts = [decoder.feed(body[start : start + size]) for start in range(0, len(body), size)]
    return b"".join([*parts, decoder.finish()])


@given(st.sampled_from(ENCODINGS), st.lists(st.binary(max_size=300), max_size=4), st.integers(1, 500))
def test_several_frames_in_any_cuts(encoding: str, parts: list[bytes], size: int) -> None:
    """Scenario: a body of several frames, received in cuts of any size. Guarantees: every byte of every frame."""
    body = b"".join(COMPRESS[encoding](part) for part in parts)

    assert decode(encoding, body, size) == b"".join(parts)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_cut_body_is_no_data(encoding: str) -> None:
    """Scenario: the last byte is missing. Guarantees: an error, never a shorter body."""
    body = COMPRESS[encoding](b"some rows " * 100)

    with pytest.raises(QueryFailed, match="cannot decompress the body as"):
        decode(encoding, body[:-1], 64)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_rubbish_is_named(encoding: str) -> None:
    """Scenario: a body that is not what Content-Encoding says. Guarantees: ClickHouse's code for it."""
    with pytest.raises(QueryFailed) as caught:
        decode(encoding, b"\x00SELECT 1 and so on", 64)

    assert caught.value.code == 271


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_bomb_stops_at_the_limit(encoding: str) -> None:
    """Scenario: 100 MB of zeros in a small body. Guarantees: refused as too large."""
    with pytest.raises(QueryFailed, match="over 1048576 bytes"):
        decode(encoding, COMPRESS[encoding](bytes(100_000_000)), 65536)


def test_raw_deflate() -> None:
    """Scenario: a client whose deflate is not zlib's. Guarantees: it is understood as well."""
    compressor = zlib.compressobj(wbits=-15)
    body = compressor.compress(b"SELECT 1") + compressor.flush()

    assert decode("deflate", body, 100) == b"SELECT 1"


def test_unknown_encoding() -> None:
    """Scenario: Content-Encoding: snappy. Guarantees: the error says what can be used."""
    with pytest.raises(QueryFailed, match="use one of lz4, zstd, gzip, deflate, br") as caught:
        Decoder("snappy", LIMIT)

    assert caught.value.code == 89


@given(st.sampled_from(ENCODINGS), st.lists(st.binary(max_size=300), max_size=4))
def test_what_we_encode_decodes(encoding: str, parts: list[bytes]) -> None:
    """Scenario: any parts of an answer. Guarantees: the other side reads the same bytes."""
    encoder = Encoder(encoding)
    body = b"".join([*(encoder.feed(part) for part in parts), encoder.finish()])

    assert decode(encoding, body, 50) == b"".join(parts)


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("lz4;q=0, GZIP;q=0.5", "gzip"),
        ("br", "br"),
    ],
)
def test_choice_of_encoding(header: str, encoding: str | None) -> None:
    """Scenario: Accept-Encoding headers. Guarantees: the cheapest one that is accepted."""
    assert accepted(header) == encoding
