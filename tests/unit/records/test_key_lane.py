"""Which lane a key is in: the test vectors of the contract, and the spread over real keys."""

import ctypes
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable

import confluent_kafka.cimpl
import pytest

from sidecar.records.key_lane import key_hash, lane_of

VECTORS = [
    (b"", 0xEFD01F60BA992926, 7, 119),
    (b"a", 0x82A2A958A9BECE5B, 4, 65),
    (b"user-123", 0x63425CFDD44E82F2, 3, 49),
    (b"6ba7b810-9dad-11d1-80b4-00c04fd430c8", 0xC3ED45E6A7543362, 6, 97),
    (b"\x00\x00\x00\x00\x00\x00\x00\x2a", 0x641DEDE4F0973E8C, 3, 50),
    ("schl\u00fcssel".encode(), 0xF380F95126DFDCA4, 7, 121),
]
"""In docs/protocol.md: the key, its hash, its lane of 8, and its lane of 128."""

_partition_of = ctypes.CDLL(confluent_kafka.cimpl.__file__).rd_kafka_msg_partitioner_murmur2
_partition_of.argtypes = (
    ctypes.c_void_p,  # of a topic, which it does not look at
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.c_int32,
    ctypes.c_void_p,
    ctypes.c_void_p,
)
_partition_of.restype = ctypes.c_int32
"""Kafka's partitioner, as its client has it."""


@pytest.mark.parametrize(("key", "expected", "of_8", "of_128"), VECTORS)
def test_the_vectors_of_the_contract(key: bytes, expected: int, of_8: int, of_128: int) -> None:
    assert key_hash(key) == expected
    assert (lane_of(key, 0, 8), lane_of(key, 0, 128)) == (of_8, of_128)


def test_a_record_without_a_key_is_in_the_lane_of_its_offset() -> None:
    assert [lane_of(None, offset, 3) for offset in (0, 1, 2, 3, (1 << 63) - 1)] == [0, 1, 2, 0, 1]
    assert lane_of(b"a", 7, 1) == lane_of(None, 7, 1) == 0


def uuid(number: int) -> bytes:
    """The text of the UUID, in less time than the class takes."""
    text = b"%032x" % number
    return b"-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


KINDS: dict[str, Callable[[int, random.Random], bytes]] = {
    "uuids": lambda _, chance: uuid(chance.getrandbits(128)),
    "numbered": lambda number, _: f"user-{number}".encode(),
    "decimal": lambda number, _: str(number).encode(),
    "big-endian": lambda number, _: number.to_bytes(8, "big"),
    "little-endian": lambda number, _: number.to_bytes(4, "little"),
    "documents": lambda number, _: f"tenant-{number % 7}/doc-{number:08x}".encode(),
}


LANES = (2, 3, 8, 16, 64)
PARTITIONS = (1, 8, 12, 64)
KEYS_OF_A_LANE = 60


def keys_of_the_last_partition(kind: str) -> dict[int, list[bytes]]:
    """For each number of partitions, the first keys that Kafka's partitioner puts into the last one."""
    wanted = KEYS_OF_A_LANE * max(LANES)
    chance = random.Random(1)
    found: dict[int, list[bytes]] = {partitions: [] for partitions in PARTITIONS}
    multiple = math.lcm(*PARTITIONS)
    for number in itertools.count():
        key = KINDS[kind](number, chance)
        hashed = _partition_of(None, key, len(key), multiple, None, None)
        for partitions, keys in found.items():
            if hashed % partitions == partitions - 1:
                keys.append(key)
        if len(found[max(PARTITIONS)]) == wanted:  # the others are longer
            return found
    raise AssertionError


@pytest.mark.parametrize("kind", KINDS)
def test_the_keys_of_one_partition_are_spread_over_its_lanes(kind: str) -> None:
    """Chi-squared of the keys that Kafka's partitioner puts into one partition: no more than by chance."""
    for partitions, keys in keys_of_the_last_partition(kind).items():
        for lanes in LANES:
            counts = Counter(lane_of(key, 0, lanes) for key in keys[: KEYS_OF_A_LANE * lanes])
            chi = sum((counts[lane] - KEYS_OF_A_LANE) ** 2 / KEYS_OF_A_LANE for lane in range(lanes))
            # Its mean is the degrees of freedom, and its variance twice that: five standard deviations.
            freedom = lanes - 1
            most = freedom + 5 * (2 * freedom) ** 0.5 + 5
            assert chi < most, f"{partitions} partitions, {lanes} lanes: {chi:.1f} with {freedom} degrees of freedom"
