"""The hash by which a share of the traces is taken, and how a probability is written into a trace state."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Final

import numpy as np

from pipeline.hashing import Hashes
from processors.tail_sampling.conditions import parsed_trace_state
from processors.tail_sampling.spans import Truths

DEFAULT_SALT: Final = "default-hash-seed"
"""What the Collector hashes where `hash_salt` is empty."""

_OFFSET: Final = 0xCBF29CE484222325
_PRIME: Final = 0x100000001B3
_ALL: Final = (1 << 64) - 1

_TH_BITS: Final = 56
_TH_DIGITS: Final = 14
_TH_PRECISION: Final = 4
"""Digits behind leading f's, the Collector's default `sampling_precision`."""


def fnv1a(data: bytes) -> int:
    """Return the 64-bit FNV-1a hash (draft-eastlake-fnv)."""
    value = _OFFSET
    for byte in data:
        value = (value ^ byte) * _PRIME & _ALL
    return value


def trace_hashes(salt: str, high: Hashes, low: Hashes) -> Hashes:
    """Return the hash of the salt and each trace id, given as two big-endian words."""
    values = np.full(len(high), fnv1a((salt or DEFAULT_SALT).encode()), np.uint64)
    prime, byte = np.uint64(_PRIME), np.uint64(0xFF)
    for word in (high, low):
        for shift in range(56, -8, -8):
            values ^= (word >> np.uint64(shift)) & byte
            values *= prime
    return values


def threshold(percentage: float) -> int:
    """Return the largest hash that is sampled: the share of 2**64 - 1, multiplied as Go's big.Float does.

    That rounds the product to 64 bits of mantissa and then cuts off the fraction.
    """
    product = Fraction(percentage / 100) * _ALL
    if product <= 0:
        return 0
    scale = 64 - (int(product).bit_length() or 1 - math.floor(-math.log2(product)))
    rounded = Fraction(round(product * Fraction(2) ** scale)) / Fraction(2) ** scale
    return min(int(rounded), _ALL)


def is_sampled(percentage: float, salt: str, high: Hashes, low: Hashes) -> Truths:
    sampled: Truths = trace_hashes(salt, high, low) <= np.uint64(threshold(percentage))
    return sampled


def th_of(probability: float) -> str:
    """Return the `th` of a probability between 0 and 1: the rejected share of 2**56 in hex, zeros at the end cut off.

    Source: OpenTelemetry, "TraceState: Probability Sampling", with the Collector's precision.
    """
    rejected = round((1 - Fraction(probability)) * (1 << _TH_BITS))
    rejected = min(max(rejected, 0), (1 << _TH_BITS) - 1)
    digits = f"{rejected:014x}"
    precise = min(_TH_DIGITS, _TH_PRECISION + len(digits) - len(digits.lstrip("f")))
    unit = 1 << 4 * (_TH_DIGITS - precise)
    rounded = min((rejected + unit // 2) // unit * unit, (1 << _TH_BITS) - unit)
    return f"{rounded:014x}".rstrip("0") or "0"


def probability_of(th: str) -> float:
    """Return the probability that a `th` stands for; 1 where it is none."""
    try:
        rejected = int(th.ljust(_TH_DIGITS, "0"), 16) if 0 < len(th) <= _TH_DIGITS else 0
    except ValueError:
        rejected = 0
    return 1 - rejected / (1 << _TH_BITS)


@lru_cache(maxsize=4096)
def head_probability(state: str) -> float:
    """Return with which probability a trace state says that its span was sampled before; 1 where it does not."""
    return probability_of(_ot(state).get("th", "")) if state else 1.0


@lru_cache(maxsize=4096)
def with_probability(state: str, probability: float) -> str:
    """Return the trace state with `th` for what is left of the spans that were sampled before.

    OpenTelemetry's member comes first, as the one that was changed last. A text that is no trace state stays.
    """
    members = parsed_trace_state(state)
    if state and not members:
        return state
    ot = {"th": th_of(probability * head_probability(state))} | {
        key: value for key, value in _ot(state).items() if key != "th"
    }
    first = "ot=" + ";".join(f"{key}:{value}" for key, value in ot.items())
    return ",".join([first, *(f"{key}={value}" for key, value in members.items() if key != "ot")])


def _ot(state: str) -> dict[str, str]:
    pairs = (pair.partition(":") for pair in parsed_trace_state(state).get("ot", "").split(";"))
    return {key: value for key, sign, value in pairs if sign}
