"""64-bit hashes of ids and texts, for whole columns at once; the same in every process, so that they can be stored.

They stand for ids in indexes. 0 is never the hash of something: it means "none". Two different ids share a
hash once in 2**64 pairs; who can choose ids could make that happen, and would see two of his own jobs taken for one.
"""

from __future__ import annotations

import binascii
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.arrays import Column, buffer_of, lengths_of

Hashes = npt.NDArray[np.uint64]

_PREFIX_BYTES: Final = 256
"""Of a text longer than this its beginning, its last eight bytes and its length are hashed: ids are shorter."""

_FEW_ROWS: Final = 64
"""So few texts are hashed before their distinct ones were found."""

# Multipliers of splitmix64 (Steele, Lea, Flood 2014)
_M1: Final = np.uint64(0xBF58476D1CE4E5B9)
_M2: Final = np.uint64(0x94D049BB133111EB)
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_NIBBLES: Final = np.full(256, 255, np.uint8)
"""The value of a hex digit, 255 for other characters."""
_NIBBLES[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
_NIBBLES[np.frombuffer(b"ABCDEF", np.uint8)] = np.arange(10, 16)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)


def mixed(values: Hashes) -> Hashes:
    """Return the values with their bits spread (the finalizer of splitmix64)."""
    bits = values + _STEP
    bits ^= bits >> _30
    bits *= _M1
    bits ^= bits >> _27
    bits *= _M2
    bits ^= bits >> _31
    return bits


def order_of(keys: Hashes) -> npt.NDArray[np.int64]:
    """Return the order of keys, in any order of equal ones: places sorted with what is above them of the keys.

    To sort numbers is half the price of finding their order.
    """
    if len(keys) == 0:
        return np.zeros(0, np.int64)
    places = np.uint64((1 << (len(keys) - 1).bit_length()) - 1)
    order = (np.sort((keys & ~places) | np.arange(len(keys), dtype=np.uint64)) & places).view(np.int64)
    ordered = keys[order]
    if (ordered[1:] < ordered[:-1]).any():
        # keys that differ in their last bits only
        return np.argsort(keys)
    return order


def combined(*parts: Hashes) -> Hashes:
    """Return one hash of several, whose order matters; never 0."""
    total = parts[0]
    for part in parts[1:]:
        total = mixed(total) ^ part
    return _not_zero(mixed(total))


def text_hashes(texts: Column) -> Hashes:
    """Return the hash of each text or binary value; 0 for null."""
    rows = len(texts)
    if texts.null_count == rows:
        return np.zeros(rows, np.uint64)
    _, offsets_buffer, data_buffer = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[texts.offset : texts.offset + rows + 1].astype(np.int64)
    lengths = np.diff(offsets)
    shortest, longest = int(lengths.min()), int(lengths.max())
    if not texts.null_count and 8 <= shortest == longest <= _PREFIX_BYTES:
        return _hashes_of_equal_length(data_buffer, int(offsets[0]), rows, longest)
    longest = min(longest, _PREFIX_BYTES)
    first, last = offsets[0], offsets[-1]
    padded = np.zeros(last - first + 16, np.uint8)
    if last > first:
        padded[: last - first] = np.frombuffer(data_buffer, np.uint8)[first:last]
    # the eight bytes that begin at each byte
    words = np.ndarray(len(padded) - 8, "<u8", buffer=padded.data, strides=(1,))
    starts = offsets[:-1] - first
    total = mixed(lengths.astype(np.uint64))
    for position in range(0, longest, 8):
        if shortest >= position + 8:
            total = mixed(total ^ words[starts + position])
            continue
        here = np.flatnonzero(lengths > position)
        left = lengths[here] - position
        word = words[starts[here] + position]
        cut = np.maximum(64 - 8 * left, 0).astype(np.uint64)
        total[here] = mixed(total[here] ^ ((word << cut) >> cut))
    beyond = np.flatnonzero(lengths > _PREFIX_BYTES)
    if len(beyond):
        total[beyond] = mixed(total[beyond] ^ words[starts[beyond] + lengths[beyond] - 8])
    total = _not_zero(total)
    if texts.null_count:
        total[~texts.is_valid().to_numpy(zero_copy_only=False)] = 0
    return total


@lru_cache(1024)
def text_hash(text: str) -> int:
    """Return the hash of one text, as `text_hashes` has it; for texts of which there are few."""
    return int(text_hashes(pa.array([text], pa.string()))[0])


def _hashes_of_equal_length(data: pa.Buffer, begin: int, rows: int, length: int) -> Hashes:
    """Return `text_hashes` of texts that lie side by side, as ids do: a third of the price."""

    def words(position: int) -> Hashes:
        return np.ndarray(rows, "<u8", data, begin + position, (length,))  # type: ignore[arg-type]

    total = mixed(np.full(rows, length, np.uint64))
    for position in range(0, length - 7, 8):
        total = mixed(total ^ words(position))
    if length % 8:
        total = mixed(total ^ (words(length - 8) >> np.uint64(64 - 8 * (length % 8))))
    return _not_zero(total)


def name_hashes(names: Column) -> Hashes:
    """Return the hash of each text like `text_hashes`, at less cost where a column has few distinct ones."""
    if names.null_count == len(names) or len(names) < _FEW_ROWS:
        return text_hashes(names)
    encoded = names.dictionary_encode(null_encoding="encode")
    hashes: Hashes = text_hashes(encoded.dictionary)[encoded.indices.to_numpy()]
    return hashes


def words_of(ids: Column, width: int) -> npt.NDArray[np.uint64]:
    """Return binary ids of `width` bytes as big-endian words: an array of shape (rows, width / 8), 0 for empty ids.

    What is longer is cut and what is shorter filled up: such ids are none (OTLP has 16 and 8 bytes), and stay apart
    well enough.
    """
    rows = len(ids)
    found = np.zeros((rows, width // 8), np.uint64)
    if rows == 0:
        return found
    _, offsets_buffer, data_buffer = ids.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[ids.offset : ids.offset + rows + 1]
    lengths = np.diff(offsets)
    present = lengths > 0
    if not present.any():
        return found
    if ((lengths == width) | ~present).all():
        data: npt.NDArray[Any] = np.frombuffer(data_buffer, ">u8", (offsets[-1] - offsets[0]) // 8, offsets[0])
        if present.all():
            return data.reshape(-1, width // 8).astype(np.uint64)
        found[present] = data.reshape(-1, width // 8)
        return found
    data = np.frombuffer(data_buffer, np.uint8)
    places = np.arange(width)
    octets = data[np.minimum(offsets[:-1, np.newaxis] + places, len(data) - 1)]
    octets[places >= lengths[:, np.newaxis]] = 0
    found[:] = octets.view(">u8")
    return found


def hex_of(*words: npt.NDArray[np.uint64]) -> pa.StringArray:
    """Return the lower-case hex digits of ids given as big-endian words, one array a word."""
    rows = len(words[0])
    joined = np.column_stack(words).astype(">u8") if rows else np.zeros((0, len(words)), ">u8")
    digits = np.frombuffer(joined.tobytes().hex().encode(), np.uint8)
    bounds = np.arange(rows + 1, dtype=np.int32) * (16 * len(words))
    return pa.StringArray.from_buffers(rows, buffer_of(bounds), buffer_of(digits))


def words_of_hex(ids: Column, width: int) -> npt.NDArray[np.uint64]:
    """Return ids of `width` bytes, given as hex digits, as `words_of` has them; 0 for other text."""
    rows = len(ids)
    whole = np.flatnonzero(lengths_of(ids) == 2 * width)
    if len(whole) == 0:
        return np.zeros((rows, width // 8), np.uint64)
    _, offsets_buffer, data_buffer = ids.buffers()
    starts = np.frombuffer(offsets_buffer, np.int32)[ids.offset : ids.offset + rows][whole]
    digits = np.frombuffer(data_buffer, np.uint8)
    first, size = int(starts[0]), 2 * width * len(whole)
    if int(starts[-1]) - first == size - 2 * width:
        digits = digits[first : first + size]
    else:
        digits = digits[starts[:, np.newaxis] + np.arange(2 * width)].ravel()
    words = _words_of_digits(digits, width)
    if len(whole) == rows:
        return words
    found = np.zeros((rows, width // 8), np.uint64)
    found[whole] = words
    return found


def _words_of_digits(digits: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.uint64]:
    """Return the words of ids whose hex digits lie side by side, zeros for those with other characters."""
    try:
        return np.frombuffer(binascii.unhexlify(digits.data), ">u8").reshape(-1, width // 8).astype(np.uint64)
    except binascii.Error:
        nibbles = _NIBBLES[digits].reshape(-1, 2 * width)
        octets = np.ascontiguousarray((nibbles[:, 0::2] << 4) | nibbles[:, 1::2])
        words = octets.view(">u8").astype(np.uint64)
        words[(nibbles > 15).any(axis=1)] = 0
        return words


def span_hashes(trace: npt.NDArray[np.uint64], span: npt.NDArray[np.uint64]) -> Hashes:
    """Return the hash of (trace id, span id), given as words; 0 where there is no span id."""
    return hashes_in_traces(trace_hashes(trace), span)


def trace_hashes(trace: npt.NDArray[np.uint64]) -> Hashes:
    """Return what `hashes_in_traces` takes of trace ids, given as words."""
    return mixed(mixed(trace[:, 0]) ^ trace[:, 1])


def hashes_in_traces(traces: Hashes, span: npt.NDArray[np.uint64]) -> Hashes:
    """Return `span_hashes` for several ids of each span, whose trace is hashed once."""
    total = _not_zero(mixed(traces ^ span))
    total[span == 0] = 0
    return total


def _not_zero(hashes: Hashes) -> Hashes:
    hashes[hashes == 0] = 1
    return hashes
