"""Records: the columns of a Batch, as the handler sees them."""

from __future__ import annotations

from collections.abc import Sequence

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.case import case
from sidecar.conformance.records import Rec, batch_of, line, produced
from sidecar.conformance.stage import TOPIC, Stage

_DESCRIBE = "describe=out checkpoint=1"


async def _described(
    stage: Stage,
    records: Sequence[Rec],
    timestamp_type: pb.TimestampType = pb.TIMESTAMP_TYPE_CREATE_TIME,
    start: int = 0,
    **fields: bool,
) -> None:
    """Deliver records, and compare what the handler has seen."""
    stream = await stage.running(3, start)
    await stream.send(batch=batch_of(records, timestamp_type, **fields))
    await stage.checkpointed(stream, records[-1].offset)
    _compare(stage, [line(TOPIC, 3, record, timestamp_type) for record in records])


def _compare(stage: Stage, wanted: list[str]) -> None:
    seen = [(value or b"").decode(errors="replace") for value in stage.written("out")]
    for want, saw in zip(wanted, seen, strict=False):
        stage.check(saw == want, f"a record is described as {saw!r}, and is {want!r}")
    stage.check(len(seen) == len(wanted), f"{len(seen)} records are described, and {len(wanted)} were delivered")


@case("plain-record", 12, "A record with key, value, one header and its time.", do=_DESCRIBE)
async def plain_record(stage: Stage) -> None:
    await _described(stage, [Rec(0, b"key", b"value", ((b"traceparent", b"00-1"),))])


@case("gaps", 12, "Offsets have gaps: each record has its own, and so has the checkpoint.", do=_DESCRIBE)
async def gaps(stage: Stage) -> None:
    await _described(stage, [Rec(10), Rec(11), Rec(15), Rec(4_000_000_000)], start=7)


@case("explicit-offsets", 12, "The column `offsets` may be there for offsets without gaps.", do=_DESCRIBE)
async def explicit_offsets(stage: Stage) -> None:
    await _described(stage, [Rec(0), Rec(1), Rec(2)], explicit_offsets=True)


@case("big-offsets", 12, "Offsets and times up to 2^53 are exact.", do=_DESCRIBE)
async def big_offsets(stage: Stage) -> None:
    first = 2**53 - 5
    await _described(stage, [Rec(first, timestamp=2**53 - 1), Rec(first + 3)], start=first)


@case("bigger-offsets", 12, "Offsets and times above 2^53 are exact too.", do=_DESCRIBE, advice=True)
async def bigger_offsets(stage: Stage) -> None:
    first = 2**53 + 1
    await _described(stage, [Rec(first, timestamp=2**53 + 3), Rec(first + 2)], start=first)


@case("null-and-empty", 12, "Null is not empty: keys and values.", do=_DESCRIBE)
async def null_and_empty(stage: Stage) -> None:
    pairs = [(None, None), (b"", None), (None, b""), (b"", b""), (b"k", None), (b"k", b"v")]
    await _described(stage, [Rec(i, key, value) for i, (key, value) in enumerate(pairs)])


@case("no-keys-column", 12, "Without the column `keys` every key is null.", do=_DESCRIBE)
async def no_keys_column(stage: Stage) -> None:
    await _described(stage, [Rec(0, None, b"a"), Rec(1, None, b"b")])


@case(
    "headers", 12, "Headers keep their order and duplicates; null is not empty; some records have none.", do=_DESCRIBE
)
async def headers(stage: Stage) -> None:
    many = ((b"b", b"1"), (b"a", b"2"), (b"b", b"1"), (b"n", None), (b"e", b""), (b"", b"x"))
    await _described(stage, [Rec(0), Rec(1, headers=many), Rec(2), Rec(3, headers=((b"z", None),))])


@case(
    "header-names-are-bytes", 12, "A header name that is not UTF-8 reaches the handler byte for byte.", do=_DESCRIBE
)
async def header_names_are_bytes(stage: Stage) -> None:
    names = (b"\xff\xfe", "ä€".encode(), b"\xed\xa0\x80", b"nul\0", b"\xc3")
    await _described(stage, [Rec(0, headers=tuple((name, b"\x80") for name in names))])


@case("append-time", 12, "Timestamps of the broker are told from those of the producer.", do=_DESCRIBE)
async def append_time(stage: Stage) -> None:
    await _described(stage, [Rec(0), Rec(1)], pb.TIMESTAMP_TYPE_LOG_APPEND_TIME)


@case("no-timestamps", 12, "A record has no timestamp: that is -1, or the type says so.", do=_DESCRIBE)
async def no_timestamps(stage: Stage) -> None:
    await _described(stage, [Rec(0, timestamp=-1), Rec(1, timestamp=-1)], pb.TIMESTAMP_TYPE_UNSPECIFIED)


@case("time-zero", 12, "The timestamp 0 is a time.", do=_DESCRIBE)
async def time_zero(stage: Stage) -> None:
    await _described(stage, [Rec(0, timestamp=0), Rec(1)])


@case(
    "many-frames", 12, "Records of many frames reach the handler once and in order.", do="describe=out checkpoint=10"
)
async def many_frames(stage: Stage) -> None:
    stream = await stage.running(3)
    wanted = [Rec(offset, str(offset).encode()) for offset in range(300)]
    for first in range(0, 300, 30):
        await stream.records(*wanted[first : first + 30])
    await stage.checkpointed(stream, 299)
    _compare(stage, [line(TOPIC, 3, record) for record in wanted])


@case("large-record", 49, "A message of 6 MiB is received, if the Offer allows it.", do="checkpoint=1")
async def large_record(stage: Stage) -> None:
    stream = await stage.running(3)
    offer = stream.life.offer
    assert offer is not None
    most = (offer.max_message_bytes or 4 * 1024 * 1024) - 1024
    size = min(6 * 1024 * 1024, most)
    await stream.records(Rec(0, b"k", bytes(16)), Rec(1, bytes(size - 4096), b"v"))
    await stage.until(lambda: stream.life.over or stream.life.told >= 0, "a checkpoint after a large Batch")
    stage.check(not stream.life.over, f"the stream broke at a message of {size} bytes; the Offer allows more")


@case(
    "copy-headers",
    35,
    "A record is copied with null and empty parts, duplicates and odd header names.",
    do="copy=out checkpoint=1",
)
async def copy_headers(stage: Stage) -> None:
    records = [
        Rec(0, None, b"a"),
        Rec(1, b"", None, ((b"n", None), (b"n", b""), (b"n", b"x"))),
        Rec(2, b"k", b""),
        Rec(3, b"k", b"v", ((b"\xff\xfe", b"1"), ("ä".encode(), None))),
    ]
    stage.host.produces.by_hand()
    stream = await stage.running(3)
    await stream.records(*records)
    for record in records:
        call, request = await stage.produce()
        [copied] = produced(request)
        same = copied._replace(offset=record.offset, timestamp=record.timestamp) == record
        stage.check(same, f"record {record.offset} was {record[1:4]!r}, its copy is {copied[1:4]!r}")
        call.answer(
            pb.ProduceResponse(outcomes=[pb.PRODUCE_OUTCOME_WRITTEN], partitions=[0], offsets=[record.offset])
        )
    await stage.checkpointed(stream, 3)


@case("copy-null-keys", 35, "Copies without any key have neither `keys` nor `null_keys`.", do="copy=out checkpoint=1")
async def copy_null_keys(stage: Stage) -> None:
    stream = await stage.running(3)
    await stream.records(Rec(0, None, b"a"), Rec(1, None, None), Rec(2, None, b""))
    await stage.checkpointed(stream, 2)
    stage.check(stage.written("out") == [b"a", None, b""], f"the copies have the values {stage.written('out')!r}")
    stage.check(all(record.key is None for record in stage.log.records), "a copy of a null key is not null")
