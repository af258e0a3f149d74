"""Writing to a librdkafka that does what the real one rarely does: the order is kept, and nothing is lost or kept."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import KafkaError

from sdk_python.protocol import lambda_pb2 as pb
from tests.unit.native.library import Request

ALL, MORE, FAILED, FULL, REFUSED_IN_IT, NO_MEMORY = 0, 1, 2, 3, 4, -1
NOT_SENT, REFUSED, REFUSED_BY_KAFKA, TAKEN, REPORTED = range(5)
QUEUE_FULL, FATAL = KafkaError._QUEUE_FULL, KafkaError._FATAL
COUNTS = ("topics", "header_lists", "confs", "waiting", "queues")
REPORTS, LINES = 4_000, 64
"""Of one serve, as `outlet.h` has them."""


def number(library: ctypes.CDLL, name: str) -> ctypes.c_int:
    return ctypes.c_int.in_dll(library, f"played_{name}")


@pytest.fixture
def played(library: ctypes.CDLL) -> Iterator[ctypes.CDLL]:
    """With nothing that is refused, and nothing left over at the end."""
    library.played_make(0x1000)  # as the proof does it, so that the functions are found
    library.played_destroy(0x1000)
    number(library, "room").value = -1
    for name in ("code", "no_topic", "no_client", "bad_property", "yields"):
        number(library, name).value = 0
    yield library
    assert {name: number(library, name).value for name in COUNTS} == dict.fromkeys(COUNTS, 0)


def open_outlet(library: ctypes.CDLL) -> tuple[int, Any, bytes]:
    outlet = ctypes.create_string_buffer(library.played_sizeof_outlet())
    text = ctypes.create_string_buffer(100)
    names, values = (ctypes.c_char_p * 1)(b"linger.ms"), (ctypes.c_char_p * 1)(b"1")
    return library.outlet_open(outlet, names, values, 1, 5, text, 100), outlet, text.value


@contextmanager
def opened(library: ctypes.CDLL) -> Iterator[Any]:
    code, outlet, text = open_outlet(library)
    assert (code, text) == (0, b"")
    try:
        yield outlet
    finally:
        library.outlet_close(outlet)
        library.outlet_clear(outlet)


@contextmanager
def requested(library: ctypes.CDLL, **fields: Any) -> Iterator[Request]:
    data = pb.ProduceRequest(**{"lease": "L", "topics": ["out"], **fields}).SerializeToString()
    memory = (ctypes.c_char * len(data)).from_buffer_copy(data)
    made = ctypes.POINTER(Request)()
    assert library.request_read(ctypes.cast(memory, ctypes.c_char_p), len(data), 10_000, 10, made) == 0
    yield made.contents
    library.played_free(made)


def states(library: ctypes.CDLL, request: Request) -> list[tuple[int, int]]:
    records = [library.played_record(request, index).contents for index in range(request.count)]
    return [(record.state, record.code) for record in records]


def given(library: ctypes.CDLL) -> list[bytes]:
    made: list[bytes] = []
    while (one := library.played_given(len(made))) is not None:
        made.append(one)
    return made


def test_records_are_given_whole_and_in_order(played: ctypes.CDLL) -> None:
    fields = {
        "topics": ["a", "b"],
        "topic_indexes": [1, 0, 1],
        "keys": [b"k", b"", b"x"],
        "values": [b"1", b"2", b""],
        "partitions": [3, -1, -2],
        "header_counts": [2, 0, 0],
        "header_names": [b"h", b"i"],
        "header_values": [b"v", b""],
    }
    with requested(played, **fields) as request, opened(played) as outlet:
        assert played.outlet_produce(outlet, request, 1) == MORE
        assert given(played) == [b"b/3 k:1 h=v i="]
        assert played.outlet_produce(outlet, request, 10) == ALL
        assert given(played) == [b"b/3 k:1 h=v i=", b"a/-1 :2"]
        assert states(played, request) == [(TAKEN, 0), (TAKEN, 0), (REFUSED, 1)]
        assert (request.pending, request.taken) == (3, 2)
        assert number(played, "topics").value == 0


def test_a_request_is_finished_with_its_last_report(played: ctypes.CDLL) -> None:
    with requested(played, values=[b"1", b"2", b"3"]) as request, opened(played) as outlet:
        assert played.outlet_produce(outlet, request, 3) == ALL
        request.pending -= 1  # no more are given
        played.played_report(1, 0, 7, 70)
        played.played_report(0, 0, 7, -1001)
        assert not played.outlet_serve(outlet, 0)
        assert played.played_finished(outlet) is None
        played.played_report(2, KafkaError._MSG_TIMED_OUT, 7, -1001)
        assert not played.outlet_serve(outlet, 0)
        assert played.played_finished(outlet) == ctypes.addressof(request)
        assert states(played, request) == [(REPORTED, 0), (REPORTED, 0), (REPORTED, KafkaError._MSG_TIMED_OUT)]
        assert request.written == 2
        offsets = [played.played_record(request, index).contents.offset for index in range(3)]
        assert offsets == [0, 70, -1]


def test_after_a_full_queue_nothing_of_the_request_is_given(played: ctypes.CDLL) -> None:
    """There is room again for the last one, which would overtake the one before."""
    with requested(played, values=[b"1", b"2", b"3", b"4"]) as request, opened(played) as outlet:
        number(played, "room").value = 2
        assert played.outlet_produce(outlet, request, 3) == ALL
        number(played, "room").value = 10
        assert given(played) == [b"out/-1 :1", b"out/-1 :2"]
        assert states(played, request) == [(TAKEN, 0)] * 2 + [(REFUSED_BY_KAFKA, QUEUE_FULL)] * 2
        assert (request.given, request.taken) == (4, 2)


def test_a_refused_record_does_not_stop_others(played: ctypes.CDLL) -> None:
    headers = {"header_counts": [1, 0], "header_names": [b"h"], "header_values": [b""]}
    with requested(played, values=[b"1", b"2"], **headers) as request, opened(played) as outlet:
        number(played, "code").value = KafkaError.MSG_SIZE_TOO_LARGE
        assert played.outlet_produce(outlet, request, 1) == MORE
        number(played, "code").value = 0
        assert played.outlet_produce(outlet, request, 1) == ALL
        assert states(played, request) == [(REFUSED_BY_KAFKA, KafkaError.MSG_SIZE_TOO_LARGE), (TAKEN, 0)]


def test_a_topic_that_librdkafka_refuses(played: ctypes.CDLL) -> None:
    with requested(played, values=[b"1"]) as request, opened(played) as outlet:
        number(played, "no_topic").value = 1
        assert played.outlet_produce(outlet, request, 1) == ALL
        assert states(played, request) == [(REFUSED_BY_KAFKA, KafkaError._INVALID_ARG)]


def test_a_topic_with_a_nul_is_not_cut(played: ctypes.CDLL) -> None:
    with requested(played, topics=["out\0x"], values=[b"1"]) as request, opened(played) as outlet:
        assert played.outlet_produce(outlet, request, 1) == ALL
        assert states(played, request) == [(REFUSED_BY_KAFKA, KafkaError._INVALID_ARG)]


def test_a_producer_that_has_failed_for_good_gets_no_more(played: ctypes.CDLL) -> None:
    with requested(played, values=[b"1", b"2", b"3"]) as request, opened(played) as outlet:
        number(played, "code").value = FATAL
        assert played.outlet_produce(outlet, request, 3) == FAILED
        number(played, "code").value = 0
        assert (request.given, request.taken) == (1, 0)
        assert played.outlet_produce(outlet, request, 3) == ALL
        assert states(played, request) == [(REFUSED_BY_KAFKA, FATAL), (TAKEN, 0), (TAKEN, 0)]


def test_only_a_fatal_error_is_a_failure(played: ctypes.CDLL) -> None:
    with opened(played) as outlet:
        for code, is_failed in [(KafkaError._ALL_BROKERS_DOWN, 0), (FATAL, 1)]:
            played.played_error(code)
            played.outlet_serve(outlet, 0)
            assert played.outlet_failed(outlet) == is_failed
        played.outlet_serve(outlet, 0)
        assert not played.outlet_failed(outlet)  # it is told once


def test_a_failure_in_a_flush_is_told_by_the_next_serve(played: ctypes.CDLL) -> None:
    with opened(played) as outlet:
        played.played_error(FATAL)
        assert played.outlet_flush(outlet, 0) == 0
        played.outlet_serve(outlet, 0)
        assert played.outlet_failed(outlet)


def test_a_flush_says_how_many_reports_are_left(played: ctypes.CDLL) -> None:
    with requested(played, values=[b"1", b"2"]) as request, opened(played) as outlet:
        assert played.outlet_transact(outlet, request) == ALL
        assert played.outlet_flush(outlet, 0) == 2
        for index in range(2):
            played.played_report(index, 0, 3, index)
        assert played.outlet_flush(outlet, 0) == 0
        assert request.written == 2


def test_in_a_transaction_a_full_queue_is_tried_again_with_the_same_record(played: ctypes.CDLL) -> None:
    with requested(played, values=[b"1", b"2", b"3"]) as request, opened(played) as outlet:
        number(played, "room").value = 1
        assert [played.outlet_transact(outlet, request) for _ in range(2)] == [FULL, FULL]
        assert states(played, request) == [(TAKEN, 0), (NOT_SENT, 0), (NOT_SENT, 0)]
        number(played, "room").value = -1
        assert played.outlet_transact(outlet, request) == ALL
        assert given(played) == [b"out/-1 :1", b"out/-1 :2", b"out/-1 :3"]


@pytest.mark.parametrize(("code", "state"), [(KafkaError._INVALID_ARG, REFUSED_IN_IT), (FATAL, FAILED)])
def test_in_a_transaction_nothing_is_given_after_a_refused_record(played: ctypes.CDLL, code: int, state: int) -> None:
    with requested(played, values=[b"1", b"2"]) as request, opened(played) as outlet:
        number(played, "code").value = code
        assert played.outlet_transact(outlet, request) == state
        assert states(played, request) == [(REFUSED_BY_KAFKA, code), (NOT_SENT, 0)]
        assert (request.given, request.pending) == (1, 1)
        assert number(played, "topics").value == 0


def test_a_serve_ends_after_many_reports(played: ctypes.CDLL) -> None:
    with requested(played, values=[b""] * (REPORTS + 1)) as request, opened(played) as outlet:
        played.outlet_produce(outlet, request, REPORTS + 1)
        for index in range(REPORTS + 1):
            played.played_report(index, 0, 0, index)
        assert played.outlet_serve(outlet, 0)
        assert (request.written, number(played, "yields").value) == (REPORTS, 1)
        assert not played.outlet_serve(outlet, 0)
        assert request.written == REPORTS + 1


def test_a_serve_ends_after_many_log_lines(played: ctypes.CDLL) -> None:
    with opened(played) as outlet:
        played.played_log(b"FAIL", b"text")  # again and again, as long as it may
        assert played.outlet_serve(outlet, 0)
        assert played.played_lines(outlet) == LINES
        played.outlet_clear(outlet)
        assert played.played_lines(outlet) == 0


def test_what_is_not_written_when_it_ends_is_reported_as_purged(played: ctypes.CDLL) -> None:
    with requested(played, values=[b"1"] * (REPORTS + 5)) as request:
        with opened(played) as outlet:
            played.outlet_produce(outlet, request, REPORTS + 5)
            played.played_report(0, 0, 0, 9)
            played.outlet_serve(outlet, 0)
        assert states(played, request) == [(REPORTED, 0)] + [(REPORTED, KafkaError._PURGE_QUEUE)] * (REPORTS + 4)


def test_memory_may_run_out(played: ctypes.CDLL) -> None:
    with requested(played, values=[b"1"]) as request, opened(played) as outlet:
        memory = ctypes.c_long.in_dll(played, "played_memory")
        memory.value = 0
        assert played.outlet_produce(outlet, request, 1) == NO_MEMORY
        assert request.given == 0
        memory.value = 1
        assert played.outlet_produce(outlet, request, 1) == ALL
        memory.value = -1
        assert states(played, request) == [(REFUSED_BY_KAFKA, KafkaError._INVALID_ARG)]


@pytest.mark.parametrize(("flag", "text"), [("bad_property", b"linger.ms=1 is refused"), ("no_client", b"no client")])
def test_a_producer_that_cannot_be_made_says_why(played: ctypes.CDLL, flag: str, text: bytes) -> None:
    number(played, flag).value = 1
    code, _, reason = open_outlet(played)
    assert (code, reason) == (-1, text)
