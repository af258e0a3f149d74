"""Reading from a librdkafka that does what the real one never did: nothing is lost in silence, nothing crashes."""

import ctypes
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from confluent_kafka import KafkaError
from hypothesis import given, settings, strategies as st

from sidecar.records.key_lane import lane_of

TOPIC = b"t"
NOT_READ = 0
CLIENT = 0x1000
"""The client's handle, which nobody looks into."""


def flag(library: ctypes.CDLL, name: str, value: int) -> None:
    ctypes.c_int.in_dll(library, f"played_{name}").value = value


def memory(library: ctypes.CDLL, allocations: int) -> None:
    ctypes.c_long.in_dll(library, "played_memory").value = allocations


@contextmanager
def opened(library: ctypes.CDLL, most: int = 10, lanes: int = 1) -> Iterator[ctypes.Array[ctypes.c_char]]:
    source = ctypes.create_string_buffer(library.played_sizeof_source())
    assert library.played_make(CLIENT) == 0
    assert library.source_open(source, most, lanes) == 0
    try:
        yield source
    finally:
        memory(library, -1)
        library.source_close(source)


def led(library: ctypes.CDLL, source: ctypes.Array[ctypes.c_char], partition: int = 0) -> int:
    slot: int = library.source_slot(source, TOPIC, partition)
    library.played_own(slot, slot)
    assert library.source_lead(source, slot) == 0
    return slot


def message(
    library: ctypes.CDLL, offset: int, partition: int = 0, err: int = 0, code: int = 0, key: bytes | None = b"key"
) -> None:
    library.played_message(TOPIC, partition, offset, err, b"value", 5, key, len(key or b""), code)


def failures(library: ctypes.CDLL, source: ctypes.Array[ctypes.c_char]) -> list[tuple[bytes, int, int, int]]:
    noted = [library.played_failure(source, index).contents for index in range(library.played_failures(source))]
    return [(one.topic, one.partition, one.offset, one.code) for one in noted]


def offsets(library: ctypes.CDLL, slot: int) -> list[int]:
    rows = library.played_rows(slot)
    return [library.played_offset(rows, index) for index in range(library.played_count(rows))]


def test_a_refused_read_is_an_error_and_not_an_empty_read(library: ctypes.CDLL) -> None:
    with opened(library) as source:
        slot = led(library, source)
        message(library, 0)
        flag(library, "refusal", -150)
        assert library.source_read(source) == -2
        assert library.played_refused(source) == -150
        assert (library.played_touched(source), failures(library, source)) == (0, [])
        flag(library, "refusal", 0)
        assert library.source_read(source) == 0
        assert offsets(library, slot) == [0]


def test_a_client_without_a_group_is_refused(library: ctypes.CDLL) -> None:
    flag(library, "no_events", 1)
    source = ctypes.create_string_buffer(library.played_sizeof_source())
    assert library.played_make(CLIENT) == 0
    assert library.source_open(source, 10, 1) == -3


def test_a_destroyed_client_is_not_taken(library: ctypes.CDLL) -> None:
    source = ctypes.create_string_buffer(library.played_sizeof_source())
    library.played_make(CLIENT)
    library.played_make(CLIENT + 1)
    library.played_destroy(CLIENT)
    library.played_destroy(CLIENT + 1)
    assert library.source_open(source, 10, 1) == -1


def client_of(source: ctypes.Array[ctypes.c_char]) -> int | None:
    return ctypes.c_void_p.from_buffer(source).value


def test_the_newest_client_of_the_thread_is_taken_and_each_once(library: ctypes.CDLL) -> None:
    for client in (CLIENT + 1, CLIENT + 2, CLIENT + 3):
        library.played_make(client)
    with opened(library) as source:  # makes one more
        assert client_of(source) == CLIENT
    library.played_destroy(CLIENT + 2)
    for client in (CLIENT + 3, CLIENT + 1):
        source = ctypes.create_string_buffer(library.played_sizeof_source())
        assert library.source_open(source, 1, 1) == 0
        assert client_of(source) == client
        library.source_close(source)
    assert library.source_open(ctypes.create_string_buffer(library.played_sizeof_source()), 1, 1) == -1


def test_a_client_that_another_thread_has_made_is_not_taken(library: ctypes.CDLL) -> None:
    with ThreadPoolExecutor(1) as other:
        other.submit(library.played_make, CLIENT).result()
        source = ctypes.create_string_buffer(library.played_sizeof_source())
        assert library.source_open(source, 1, 1) == -1
        assert other.submit(library.source_open, source, 1, 1).result() == 0
    library.source_close(source)


def test_a_client_without_a_destroy_callback_is_not_taken(library: ctypes.CDLL) -> None:
    flag(library, "no_destroy", 1)
    library.played_make(CLIENT)
    assert library.source_open(ctypes.create_string_buffer(library.played_sizeof_source()), 1, 1) == -1


def test_a_partition_without_a_queue_is_refused(library: ctypes.CDLL) -> None:
    with opened(library) as source:
        slot = library.source_slot(source, TOPIC, 0)
        flag(library, "no_partition", 1)
        assert library.source_lead(source, slot) == -1


def test_records_of_a_partition_that_is_not_led_are_reported_by_their_first(library: ctypes.CDLL) -> None:
    with opened(library) as source:
        slot = led(library, source)
        unowned = library.source_slot(source, TOPIC, 7)
        for offset in (3, 4, 5):
            message(library, offset, partition=1)
        message(library, 0)
        message(library, 9, partition=7)
        assert library.source_read(source) == 0
        assert failures(library, source) == [(TOPIC, 1, 3, NOT_READ), (TOPIC, 7, 9, NOT_READ)]
        assert offsets(library, slot) == [0]
        assert offsets(library, unowned) == []


def test_a_record_whose_headers_cannot_be_read_is_an_error_and_its_neighbours_are_read(library: ctypes.CDLL) -> None:
    with opened(library) as source:
        slot = led(library, source)
        message(library, 0, code=KafkaError._INVALID_ARG)
        message(library, 1, code=KafkaError._NOENT)
        message(library, 2)
        library.played_header(b"n", 1, b"v", 1)
        flag(library, "layout", 8)
        for offset in (3, 4):
            message(library, offset)
            library.played_header(b"n", 1, b"v" if offset == 3 else None, 1)
        flag(library, "layout", 0)
        message(library, 5, err=KafkaError._BAD_MSG)
        message(library, 6)
        assert library.source_read(source) == 0
        assert failures(library, source) == [(TOPIC, 0, n, KafkaError._BAD_MSG) for n in (0, 3, 4, 5)]
        assert offsets(library, slot) == [1, 2, 6]
        assert library.played_added(slot) == 3


@pytest.mark.parametrize("without", range(40))
def test_memory_may_run_out_at_any_allocation(library: ctypes.CDLL, without: int) -> None:
    """What was taken is lost then, and whoever reads hears of it; nothing is half there, and nothing leaks."""
    library.played_make(CLIENT)
    source = ctypes.create_string_buffer(library.played_sizeof_source())
    memory(library, without)
    if library.source_open(source, 10, 1) != 0:
        memory(library, -1)
        assert without < 4
        return
    slots = [library.source_slot(source, TOPIC, partition) for partition in (0, 1)]
    for slot in filter(None, slots):
        library.played_own(slot, slot)
    allocations = ctypes.c_long.in_dll(library, "played_memory").value
    memory(library, -1)
    for offset in range(3):
        message(library, offset)
        for index in range(3):
            library.played_header(b"n" * 40, 40, b"v" * 300 if index else None, 300)
        message(library, offset, partition=1)
        message(library, offset, partition=5)
        message(library, offset, partition=1, err=KafkaError._BAD_MSG)
    memory(library, allocations)
    result = library.source_read(source)
    memory(library, -1)
    assert library.source_read(source) == 0, "nothing is left of it"
    assert result in (0, -1)
    if result == 0 and None not in slots:
        assert [offsets(library, slot) for slot in slots] == [[0, 1, 2]] * 2
    library.source_close(source)


# --- what the client complains of -------------------------------------------------------------------------------

COMPLAINTS = 64
FATAL = -150


def test_complaints_come_with_the_next_read_and_once(library: ctypes.CDLL) -> None:
    with opened(library) as source:
        slot = led(library, source)
        library.played_complain(CLIENT, -195, b"connection refused")
        library.played_complain(CLIENT, 3, None)
        message(library, 0)
        assert library.source_read(source) == 0
        assert failures(library, source) == [(b"", -1, -1, -195), (b"", -1, -1, 3)]
        assert offsets(library, slot) == [0]
        assert library.source_read(source) == 0
        assert failures(library, source) == []
        library.played_complain(CLIENT, -195, b"nobody reads it any more")


def test_many_complaints_are_bounded_and_hide_no_fatal_one(library: ctypes.CDLL) -> None:
    with opened(library) as source:
        for _ in range(3 * COMPLAINTS):
            library.played_complain(CLIENT, -195, b"connection refused")
        library.played_complain(CLIENT, FATAL, b"fenced")
        assert library.source_read(source) == 0
        codes = [code for _, _, _, code in failures(library, source)]
        assert codes == [-195] * (COMPLAINTS - 1) + [FATAL]


def test_complaints_are_of_one_client(library: ctypes.CDLL) -> None:
    with opened(library) as source:
        library.played_complain(CLIENT + 1, -195, b"somebody else's")
        assert library.source_read(source) == 0
        assert failures(library, source) == []
    library.played_complain(CLIENT, -195, b"of a source that is closed")


def test_a_complaint_without_memory_is_lost_and_nothing_else(library: ctypes.CDLL) -> None:
    with opened(library) as source:
        for allocations in (0, 1):
            memory(library, allocations)
            library.played_complain(CLIENT, -195, b"connection refused")
            memory(library, -1)
        assert library.source_read(source) == 0
        assert failures(library, source) == []


KEYS = [b"a", b"b", b"", None, b"user-123", b"a", None, b"b"]


@pytest.mark.parametrize("lanes", [1, 2, 3, 8, 128])
def test_each_record_is_read_into_the_lane_of_its_key(library: ctypes.CDLL, lanes: int) -> None:
    with opened(library, lanes=lanes) as source:
        slot = led(library, source)
        for offset, key in enumerate(KEYS):
            message(library, offset, key=key)
        assert library.source_read(source) == 0
        expected: dict[int, list[int]] = {}
        for offset, key in enumerate(KEYS):
            expected.setdefault(lane_of(key, offset, lanes), []).append(offset)
        assert {number: rows_of(library, slot, number) for number in expected} == expected
        assert sum(len(rows_of(library, slot, number)) for number in range(lanes)) == len(KEYS)
        assert library.played_touched(source) == len(expected)


def rows_of(library: ctypes.CDLL, slot: int, number: int) -> list[int]:
    rows = library.played_lane(slot, number)
    return [library.played_offset(rows, index) for index in range(library.played_count(rows))]


def test_what_cannot_be_read_names_its_lane(library: ctypes.CDLL) -> None:
    """By its key, if its headers cannot be read; by its offset, if there is no record."""
    with opened(library, lanes=8) as source:
        led(library, source)
        message(library, 5, code=-1, key=b"user-123")
        message(library, 14, err=-199)
        assert library.source_read(source) == 0
        noted = [library.played_failure(source, index).contents for index in range(library.played_failures(source))]
        assert [(one.offset, one.lane) for one in noted] == [(5, lane_of(b"user-123", 5, 8)), (14, 6)]


def test_memory_may_run_out_for_each_lane(library: ctypes.CDLL) -> None:
    """The read fails, and nothing of it is left for the next one."""
    for allowed in range(12):
        with opened(library, 50, lanes=8) as source:
            slot = led(library, source)
            for offset in range(20):
                message(library, offset, key=b"%d" % offset)
            memory(library, allowed)
            done = library.source_read(source)
            memory(library, -1)
            message(library, 20, key=b"again")
            assert library.source_read(source) == 0
            number = lane_of(b"again", 20, 8)
            assert rows_of(library, slot, number)[-1] == 20
            if done == 0:
                assert sum(len(rows_of(library, slot, lane)) for lane in range(8)) == 21


@settings(max_examples=500, deadline=None)
@given(key=st.none() | st.binary(max_size=80), offset=st.integers(0, (1 << 63) - 1), lanes=st.integers(1, 128))
def test_the_lane_of_a_record_is_the_same_in_c_and_in_python(
    compiled_library: ctypes.CDLL, key: bytes | None, offset: int, lanes: int
) -> None:
    found = compiled_library.played_lane_of(key, len(key or b""), offset, lanes)
    assert found == lane_of(key, offset, lanes) < lanes
