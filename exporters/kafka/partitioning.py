"""From keys to partitions, for many keys at once, as other clients choose them for the same keys. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from random import Random
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from exporters.kafka.config import Partitioner
from pipeline.arrays import Column

Hashes: TypeAlias = npt.NDArray[np.uint32]
Partitions: TypeAlias = npt.NDArray[np.int64]

_FNV_OFFSET: Final = np.uint32(2166136261)
_FNV_PRIME: Final = np.uint32(16777619)
_MURMUR_SEED: Final = np.uint32(0x9747B28C)
_MURMUR_M: Final = np.uint32(0x5BD1E995)


def fnv1a(keys: Column) -> Hashes:
    """Return the 32-bit FNV-1a hash of each binary key."""
    starts, lengths, data = _bytes(keys)
    hashes = np.full(len(keys), _FNV_OFFSET)
    for position in range(int(lengths.max(initial=0))):
        rows = np.flatnonzero(lengths > position)
        hashes[rows] = (hashes[rows] ^ data[starts[rows] + position]) * _FNV_PRIME
    return hashes


def murmur2(keys: Column) -> Hashes:
    """Return the 32-bit Murmur2 hash of each binary key, with the seed of Kafka's Java clients."""
    starts, lengths, data = _bytes(keys)
    hashes = _MURMUR_SEED ^ lengths.astype(np.uint32)
    words = lengths // 4
    for word in range(int(words.max(initial=0))):
        rows = np.flatnonzero(words > word)
        at = starts[rows] + 4 * word
        value = data[at] | data[at + 1] << 8 | data[at + 2] << 16 | data[at + 3] << 24
        value *= _MURMUR_M
        value ^= value >> 24
        value *= _MURMUR_M
        hashes[rows] = (hashes[rows] * _MURMUR_M) ^ value
    ends = starts + 4 * words
    rest = lengths - 4 * words
    for left in (3, 2, 1):
        rows = np.flatnonzero(rest >= left)
        hashes[rows] ^= data[ends[rows] + left - 1] << np.uint32(8 * (left - 1))
    rows = np.flatnonzero(rest > 0)
    hashes[rows] *= _MURMUR_M
    hashes ^= hashes >> np.uint32(13)
    hashes *= _MURMUR_M
    hashes ^= hashes >> np.uint32(15)
    return hashes


def _bytes(keys: Column) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Hashes]:
    """Return where keys start, how long they are, and all bytes, wide enough to calculate with."""
    _, offsets, values = keys.buffers()
    bounds = np.frombuffer(offsets, np.int32)[keys.offset : keys.offset + len(keys) + 1].astype(np.int64)
    data = np.zeros(0, np.uint8) if values is None else np.frombuffer(values, np.uint8)
    return bounds[:-1], np.diff(bounds), data.astype(np.uint32)


def sarama_compat(keys: Column, partitions: int) -> Partitions:
    """Return the partitions that Sarama chooses, and with it the Collector: a negative hash counts by its size."""
    signed = fnv1a(keys).view(np.int32).astype(np.int64)
    return np.abs(np.fmod(signed, partitions))


def java(keys: Column, partitions: int) -> Partitions:
    """Return the partitions that Kafka's Java clients choose."""
    return (murmur2(keys) & np.uint32(0x7FFFFFFF)).astype(np.int64) % partitions


class PartitionChoice:
    """Chooses a partition for each message of a topic."""

    def __init__(self, config: Partitioner, random: Random | None = None) -> None:
        hasher = "sarama_compat" if config.sticky_key is None else config.sticky_key.hasher
        self._by_key: Callable[[Column, int], Partitions] = sarama_compat if hasher == "sarama_compat" else java
        self._turns: Iterator[int] | None = None if config.round_robin is None else count()
        self._random = random or Random()  # noqa: S311 - spreads load, protects nothing

    def __call__(self, keys: Column, partitions: int) -> Partitions:
        """Return a partition below `partitions` for each of `keys`, binary or null.

        Messages without a key stay together, on a partition that changes from call to call.
        """
        if self._turns is not None:
            turns = self._turns
            return np.fromiter((next(turns) % partitions for _ in range(len(keys))), np.int64, len(keys))
        if keys.null_count == len(keys):
            return np.full(len(keys), self._random.randrange(partitions))
        chosen = self._by_key(keys.fill_null(pa.scalar(b"")), partitions)
        if keys.null_count:
            chosen[keys.is_null().to_numpy(zero_copy_only=False)] = self._random.randrange(partitions)
        return chosen
