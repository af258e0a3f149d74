"""Records, the line that describes one, and what a request has produced."""

from __future__ import annotations

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.lives import offsets_of
from sidecar.conformance.records import Rec, batch_of, line, produced, topics_of
from sidecar.server import producing


def test_the_example_of_the_document() -> None:
    record = Rec(17, b"k", b"", ((b"traces", None), (b"", b"ab")))
    assert line("words", 3, record) == "words/3 17 1700000000000 create 6b '' 747261636573:-,:6162"


def test_lines_without_a_timestamp() -> None:
    assert line("t", 0, Rec(0, None, None), pb.TIMESTAMP_TYPE_UNSPECIFIED) == "t/0 0 -1 none - - none"


def test_consecutive_records_have_no_offsets() -> None:
    batch = batch_of([Rec(3, None), Rec(4, None)])
    assert (batch.first_offset, [*batch.offsets], [*batch.keys], [*batch.null_keys]) == (3, [], [], [])
    assert offsets_of(batch) == [3, 4]


def test_gaps_and_nulls() -> None:
    batch = batch_of([Rec(3, None, None), Rec(7, b"", b"", ((b"h", None), (b"h", b"")))])
    assert offsets_of(batch) == [3, 7]
    assert ([*batch.keys], [*batch.null_keys]) == ([b"", b""], [0])
    assert ([*batch.values], [*batch.null_values]) == ([b"", b""], [0])
    assert ([*batch.header_counts], [*batch.null_header_values]) == ([0, 2], [0])


def test_explicit_offsets() -> None:
    assert [*batch_of([Rec(3), Rec(4)], explicit_offsets=True).offsets] == [3, 4]


def test_what_was_produced() -> None:
    request = pb.ProduceRequest(
        lease="l",
        topics=["a", "b"],
        topic_indexes=[1, 0],
        keys=[b"", b"k"],
        null_keys=[0],
        values=[b"v", b""],
        null_values=[1],
        header_counts=[0, 2],
        header_names=[b"\xff", b"n"],
        header_values=[b"x", b""],
        null_header_values=[1],
    )
    producing.outgoing(request)
    none, some = produced(request)
    assert (none.key, none.value, none.headers) == (None, b"v", ())
    assert (some.key, some.value, some.headers) == (b"k", None, ((b"\xff", b"x"), (b"n", None)))
    assert topics_of(request) == ["b", "a"]
