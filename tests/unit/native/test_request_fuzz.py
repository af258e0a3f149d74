"""Random requests, whole and damaged: the C reader says what protobuf and the fallback say, or leaves it to them.

The same requests in each run: `ROUNDS` times `REQUESTS` of them, each round from a seed of its own.
"""

import ctypes
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from google.protobuf.message import DecodeError

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.producing.outcomes import Outgoing, no_such_partition
from sidecar.records.header_names import HAS_NUL, NOT_UTF8
from sidecar.server.frames import InvalidFrameError
from sidecar.server.producing import outgoing
from tests.unit.native.library import ROUNDS, Request

REQUESTS = 20
MOST_RECORDS, MOST_TOPICS = 40, 5
REFUSED, NO_MEMORY = -1, -2
STATE_REFUSED = 1
REFUSALS = {2: HAS_NUL, 3: NOT_UTF8}

NAMES = ["h", "", "ü", "a\0", "\0", "€", "😀", "\ud7ff", "\ue000"]
BROKEN_NAMES = [
    b"\xff",
    b"\xc3",
    b"\xed\xb3\xbf",
    b"\xc0\x80",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xf4\x90\x80\x80",
]
BROKEN_NAMES += [b"\xe2\x82", b"\xe2\x28\xa1", b"\xf5\x80\x80\x80", b"a\xf0\x9f\x98", b"\xed\xa0\x80\0", b"\x80"]
UNKNOWN = [b"\x78\x96\x01", b"\x79" + bytes(8), b"\x7d" + bytes(4), b"\x7a\x02ab", b"\xa2\x06\x01a", b"\x7b\x7c"]
"""Fields of a newer protocol, of each wire type; the last one is a group."""


@contextmanager
def read(library: ctypes.CDLL, data: bytes) -> Iterator[Request | int]:
    """The request that C reads, from memory of exactly its size, or the code of its refusal."""
    memory = (ctypes.c_char * len(data)).from_buffer_copy(data)
    made = ctypes.POINTER(Request)()
    code = library.request_read(ctypes.cast(memory, ctypes.c_char_p), len(data), MOST_RECORDS, MOST_TOPICS, made)
    yield made.contents if code == 0 else code
    if code == 0:
        library.played_free(made)


def records_of(library: ctypes.CDLL, request: Request) -> list[Outgoing]:
    made = []
    (request.lease.content or b"").decode()
    topics = [(request.topics[index].content or b"").decode() for index in range(request.topic_count)]
    for index in range(request.count):
        record = library.played_record(request, index).contents
        assert record.index == index
        refusal = ""
        if record.state == STATE_REFUSED:
            refusal = REFUSALS.get(record.code) or no_such_partition(record.partition)
        own = [request.headers[record.header + at] for at in range(record.header_count)]
        pairs = (
            [] if refusal in REFUSALS.values() else [((h.name.content or b"").decode(), h.value.content) for h in own]
        )
        made.append(
            Outgoing(topics[record.topic], record.key.content, record.value.content, record.partition, pairs, refusal)
        )
    return made


def expected(data: bytes) -> list[Outgoing] | None:
    """What the fallback makes of it; None: it refuses it, or it is for Python: its records wait for a checkpoint."""
    try:
        request = pb.ProduceRequest.FromString(data)
        made = outgoing(request)
    except (DecodeError, InvalidFrameError):
        return None
    if request.HasField("commit") or request.sources:
        return None
    if len(made) > MOST_RECORDS or len(request.topics) > MOST_TOPICS:
        return None
    return [record._replace(headers=[*record.headers]) for record in made]


def contents(chance: random.Random, count: int) -> tuple[list[bytes], list[int]]:
    """A column of bytes with some nulls."""
    entries = [chance.randbytes(chance.choice([0, 0, 1, 5, 130])) for _ in range(count)]
    return entries, [index for index, entry in enumerate(entries) if not entry and chance.random() < 0.5]


def request(chance: random.Random) -> pb.ProduceRequest:
    """A well-formed request, but for a change or none."""
    count, topics = chance.choice([1, 1, 2, 5, MOST_RECORDS]), chance.randint(1, MOST_TOPICS)
    made = pb.ProduceRequest(lease=chance.choice(["L1", "ü"]), topics=[f"t{n}" for n in range(topics)])
    values, nulls = contents(chance, count)
    made.values.extend(values)
    made.null_values.extend(nulls)
    if chance.random() < 0.5:
        made.topic_indexes.extend(chance.randrange(topics) for _ in range(count))
    if chance.random() < 0.7:
        keys, nulls = contents(chance, count)
        made.keys.extend(keys)
        made.null_keys.extend(nulls)
    if chance.random() < 0.5:
        made.partitions.extend(chance.choice([-1, 0, 3, 2**31 - 1, -2, -(2**31)]) for _ in range(count))
    if chance.random() < 0.5:
        counts = [chance.choice([0, 0, 1, 3]) for _ in range(count)]
        made.header_counts.extend(counts)
        names = [name.encode() for name in NAMES] + (BROKEN_NAMES if chance.random() < 0.3 else [])
        made.header_names.extend(chance.choice(names) for _ in range(sum(counts)))
        entries, nulls = contents(chance, sum(counts))
        made.header_values.extend(entries)
        made.null_header_values.extend(nulls)
    if chance.random() < 0.4:
        _break(chance, made)
    return made


def _break(chance: random.Random, made: pb.ProduceRequest) -> None:
    """Change one column, so that as a rule it does not fit the others."""
    field = chance.choice([one.name for one in pb.ProduceRequest.DESCRIPTOR.fields])
    if field == "lease":
        made.lease = ""
        return
    if field == "commit":
        made.commit.offset = 1
        return
    column = getattr(made, field)
    change = chance.random()
    if column and change < 0.3:
        del column[chance.randrange(len(column))]
    elif column and change < 0.5:
        column.append(column[0])
    elif field in ("topics", "keys", "values", "header_names", "header_values"):
        column.append("x" if field == "topics" else b"x")
    else:
        column.append(chance.choice([0, 1, 2**31 - 1, 5]))


def damaged(chance: random.Random, data: bytes) -> bytes:
    """The message in another form, or none any more."""
    at = chance.randrange(len(data) + 1)
    ways: list[Callable[[], bytes]] = [
        lambda: data[:at],
        lambda: data[:at] + chance.randbytes(1) + data[at + 1 :],
        lambda: data[:at] + chance.randbytes(chance.randint(1, 3)) + data[at:],
        lambda: data + chance.choice(UNKNOWN),
        lambda: between_fields(chance, data),
        lambda: data + data[:at],  # fields out of their order, and twice
        lambda: data + pb.ProduceRequest(partitions=[0], null_keys=[0]).SerializeToString(),
    ]
    return chance.choice(ways)()


def between_fields(chance: random.Random, data: bytes) -> bytes:
    """The message with a field of a newer protocol between two of its own."""
    starts, at = [], 0
    while at < len(data):  # every field is a tag of one byte, a length and so many bytes
        starts.append(at)
        length, shift, at = 0, 0, at + 1
        while True:
            length |= (data[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if data[at - 1] < 0x80:
                break
        at += length
    at = chance.choice(starts)
    return data[:at] + chance.choice(UNKNOWN) + data[at:]


def check(library: ctypes.CDLL, data: bytes, *, plain: bool) -> None:
    """``plain``: a writer of protobuf has made it."""
    wanted = expected(data)
    with read(library, data) as made:
        if isinstance(made, Request):
            try:
                assert records_of(library, made) == wanted
            except UnicodeDecodeError:  # of the lease or a topic: the Python types find it
                assert wanted is None
        else:
            assert made == REFUSED
            assert wanted is None or not plain
    if wanted is not None and not plain:  # then the server brings it into the plain form
        again = pb.ProduceRequest.FromString(data)
        again.DiscardUnknownFields()
        check(library, again.SerializeToString(), plain=True)


@pytest.mark.parametrize("seed", range(int(os.environ.get(ROUNDS, "100"))))
def test_a_request_is_read_as_protobuf_reads_it(library: ctypes.CDLL, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(REQUESTS):
        data = request(chance).SerializeToString()
        check(library, data, plain=True)
        check(library, damaged(chance, data), plain=False)
        check(library, chance.randbytes(chance.randrange(40)), plain=False)


def test_a_newer_field_between_two_entries_is_no_entry(library: ctypes.CDLL) -> None:
    head = pb.ProduceRequest(lease="L", topics=["t"], values=[b"a"]).SerializeToString()
    for unknown in UNKNOWN:
        data = head + unknown + pb.ProduceRequest(values=[b"b"]).SerializeToString()
        check(library, data, plain=False)
        with read(library, data) as made:
            assert made == REFUSED


@pytest.mark.parametrize(
    "held", [pb.ProduceRequest(sources=[-1]), pb.ProduceRequest(commit=pb.CheckpointEntry(offset=1))]
)
def test_records_that_wait_for_a_checkpoint_are_not_read(library: ctypes.CDLL, held: pb.ProduceRequest) -> None:
    """With exactly-once: whoever wrote them at once would write them whether the checkpoint comes or not."""
    held.MergeFrom(pb.ProduceRequest(lease="L", topics=["t"], values=[b"a"]))
    with read(library, held.SerializeToString()) as made:
        assert made == REFUSED


def test_limits_are_kept(library: ctypes.CDLL) -> None:
    for count, topics, is_read in [(40, 5, True), (41, 5, False), (40, 6, False)]:
        made = pb.ProduceRequest(lease="L", topics=["t"] * topics, values=[b""] * count)
        with read(library, made.SerializeToString()) as result:
            assert isinstance(result, Request) == is_read


def test_memory_may_run_out(library: ctypes.CDLL) -> None:
    ctypes.c_long.in_dll(library, "played_memory").value = 0
    with read(library, pb.ProduceRequest(lease="L", topics=["t"], values=[b""]).SerializeToString()) as result:
        assert result == NO_MEMORY


@pytest.mark.parametrize("seed", range(20))
def test_the_answer_is_what_protobuf_writes(library: ctypes.CDLL, seed: int) -> None:
    chance = random.Random(seed)
    count = chance.randint(1, MOST_RECORDS)
    partitions = [chance.choice([0, 1, 127, 128, 2**31 - 1]) for _ in range(count)]
    offsets = [chance.choice([0, 127, 128, 2**40, 2**63 - 1]) for _ in range(count)]
    data = pb.ProduceRequest(lease="L", topics=["t"], values=[b""] * count).SerializeToString()
    with read(library, data) as made:
        assert isinstance(made, Request)
        for index in range(count):
            record = library.played_record(made, index).contents
            record.partition, record.offset = partitions[index], offsets[index]
        memory = ctypes.create_string_buffer(library.request_answer_size(made))
        library.request_answer_write(made, memory)
    assert pb.ProduceResponse.FromString(memory.raw) == pb.ProduceResponse(
        outcomes=[pb.PRODUCE_OUTCOME_WRITTEN] * count, partitions=partitions, offsets=offsets
    )
