from __future__ import annotations

import pyarrow as pa
import pytest
from aiokafka.partitioner import murmur2 as java_murmur2
from hypothesis import given
from hypothesis import strategies as st

from exporters.kafka.config import Partitioner
from exporters.kafka.partitioning import PartitionChoice, fnv1a, java, murmur2, sarama_compat

KEYS = st.lists(st.binary(max_size=40), min_size=1, max_size=30)


def obvious_fnv1a(key: bytes) -> int:
    value = 2166136261
    for byte in key:
        value = (value ^ byte) * 16777619 % 2**32
    return value


@given(KEYS)
def test_hashes_equal_the_obvious_ones(keys: list[bytes]) -> None:
    """Scenario: keys of any length. Guarantees: FNV-1a as defined, Murmur2 as aiokafka has it from Kafka."""
    column = pa.array([b"left out", *keys], pa.binary()).slice(1)

    assert fnv1a(column).tolist() == [obvious_fnv1a(key) for key in keys]
    assert murmur2(column).tolist() == [java_murmur2(key) & 0xFFFFFFFF for key in keys]


@given(KEYS, st.integers(1, 50))
def test_partitions_are_those_of_other_clients(keys: list[bytes], partitions: int) -> None:
    """Scenario: any keys. Guarantees: Sarama's rule (a signed remainder, its size counts) and the Java clients'."""
    column = pa.array(keys, pa.binary())

    assert java(column, partitions).tolist() == [(java_murmur2(key) & 0x7FFFFFFF) % partitions for key in keys]
    signed = [value - 2**32 if value >= 2**31 else value for value in map(obvious_fnv1a, keys)]
    assert sarama_compat(column, partitions).tolist() == [abs(value) % partitions for value in signed]


def test_known_hashes() -> None:
    """Scenario: published values of FNV-1a, and of Murmur2 from Kafka's own UtilsTest. Guarantees: equal."""
    assert fnv1a(pa.array([b"", b"a", b"foobar"], pa.binary())).tolist() == [0x811C9DC5, 0xE40C292C, 0xBF9CF968]
    values = murmur2(pa.array([b"21", b"foobar", b"a-little-bit-long-string"], pa.binary())).view("int32")
    assert values.tolist() == [-973932308, -790332482, -985981536]


def test_without_keys_messages_stay_together_and_move_on() -> None:
    """Scenario: messages without keys, many times. Guarantees: one partition a call, every partition in the end."""
    choose = PartitionChoice(Partitioner())
    keys = pa.nulls(5, pa.binary())

    calls = [set(choose(keys, 4).tolist()) for _ in range(200)]

    assert {len(call) for call in calls} == {1}
    assert set.union(*calls) == {0, 1, 2, 3}


def test_a_key_decides_though_others_have_none() -> None:
    """Scenario: keys and nulls mixed. Guarantees: the keyed ones go where they always go."""
    choose = PartitionChoice(Partitioner())
    mixed = choose(pa.array([b"a", None, b"b"], pa.binary()), 8)

    assert [mixed[0], mixed[2]] == sarama_compat(pa.array([b"a", b"b"], pa.binary()), 8).tolist()


@pytest.mark.parametrize("number", [1, 3])
def test_round_robin_takes_turns(number: int) -> None:
    """Scenario: round_robin, over several calls. Guarantees: partitions in turn, whatever the keys."""
    choose = PartitionChoice(Partitioner.model_validate({"round_robin": {}}))
    keys = pa.array([b"same"] * 4, pa.binary())

    assert [*choose(keys, number), *choose(keys, number)] == [turn % number for turn in range(8)]
